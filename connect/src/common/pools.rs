//! [`Pools`], the connections to servers that all queries of a runtime share.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use farcall_udf::Resources;

/// Pools of one kind that are kept though no query uses them.
const MAX_POOLS: usize = 64;

/// The pools of one runtime: one for each server and way to reach it, `S`.
pub(crate) struct Pools<S, P>(Mutex<Vec<(S, Arc<P>)>>);

impl<S, P> Default for Pools<S, P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S, P> fmt::Debug for Pools<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A way to reach a server holds a password.
        f.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl<S, P> Pools<S, P>
where
    S: Clone + PartialEq + Send + 'static,
    P: Send + Sync + 'static,
{
    /// Returns the pools of a runtime.
    pub(crate) fn of(resources: &Resources) -> Arc<Self> {
        match resources.resource(|| Ok::<_, Infallible>(Self::default())) {
            Ok(pools) => pools,
            Err(never) => match never {},
        }
    }

    /// Returns the pool of a server, made at its first use; `look` sees every pool that is there.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn pool<E>(
        &self,
        server: &S,
        make: impl FnOnce() -> Result<P, E>,
        look: impl Fn(&P),
    ) -> Result<Arc<P>, E> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.iter().for_each(|(_, pool)| look(pool));
        if let Some((_, pool)) = pools.iter().find(|(known, _)| known == server) {
            return Ok(Arc::clone(pool));
        }
        if pools.len() >= MAX_POOLS {
            pools.retain(|(_, pool)| Arc::strong_count(pool) > 1);
        }
        let pool = Arc::new(make()?);
        pools.push((server.clone(), Arc::clone(&pool)));
        Ok(pool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_servers_share_a_pool_and_unused_ones_make_room() {
        let pools = Pools::<usize, usize>::of(&Resources::default());
        let pool = |server: usize| pools.pool(&server, || Ok::<_, ()>(server), |_| {}).unwrap();
        let used = pool(0);
        assert!(Arc::ptr_eq(&used, &pool(0)));
        for server in 1..=MAX_POOLS {
            assert_eq!(*pool(server), server);
        }
        assert_eq!(pools.0.lock().unwrap().len(), 2);
        assert!(Arc::ptr_eq(&used, &pool(0)));
        assert_eq!(pools.pool(&99, || Err("no"), |_| {}), Err("no"));
    }
}
