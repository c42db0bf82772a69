//! [`Environment`], where `${env:NAME}` is looked up.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use farcall_udf::Resources;

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The variables that `${env:NAME}` stands for in the options of a runtime's models and tables.
///
/// They are the process's own unless the embedder puts others among the runtime's resources, before
/// the first query: a service that runs the queries of several tenants, for instance. A query looks
/// variables up when it opens a function, and keeps what it found.
///
/// ```
/// use std::convert::Infallible;
/// use farcall_connect::Environment;
/// use farcall_udf::FarcallRuntime;
///
/// let runtime = FarcallRuntime::new();
/// let tenant = |name: &str| (name == "TOKEN").then(|| String::from("abc"));
/// runtime.resource(|| Ok::<_, Infallible>(Environment::new(tenant))).ok();
/// ```
pub struct Environment(Box<Lookup>);

impl Environment {
    /// Makes an environment; `lookup` returns the value of a variable, `None` if it is not set.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self(Box::new(lookup))
    }

    /// Returns the environment of a runtime.
    pub(crate) fn of(resources: &Resources) -> Arc<Self> {
        let process = || Self::new(|name| std::env::var(name).ok());
        let found = resources.resource(|| Ok::<_, Infallible>(process()));
        found.unwrap_or_else(|never| match never {})
    }

    /// Returns the value of a variable.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name)
    }
}

/// Shows no variable.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
