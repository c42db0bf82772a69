//! `farcall serve-models`.

use datafusion::common::not_impl_err;
use datafusion::error::Result;

use super::runner::Ended;

/// Serves the local models until Ctrl-C.
pub async fn serve(_host: &str, _port: u16) -> Result<Ended> {
    not_impl_err!("serve-models")
}
