//! [`Opened`], what a function opened for one query.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// What a function opened for one query: a client, an address, a key that was read.
///
/// `open` returns it, the scope of the query keeps it, every call finds it in its
/// [`CallContext`](crate::CallContext), and `close` gets it back. Queries that run at once have one
/// each, so a function needs no lock, and a query keeps what it found when it began.
///
/// ```
/// use farcall_udf::Opened;
///
/// let opened = Opened::new(String::from("http://models"));
/// assert_eq!(opened.get::<String>().map(String::as_str), Some("http://models"));
/// assert!(opened.get::<u32>().is_none() && Opened::nothing().get::<String>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Opened(Option<Arc<dyn Any + Send + Sync>>);

impl Opened {
    /// Says that the function needs nothing opened.
    pub fn nothing() -> Self {
        Self(None)
    }

    /// Keeps a value for the calls of the query.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Some(Arc::new(value)))
    }

    /// Returns the value, if it is of this type.
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.as_deref()?.downcast_ref()
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Opened").field(&self.0.is_some()).finish()
    }
}
