//! farcall around a DataFusion session that exists already, with a function from a row-wise trait.
//!
//! `cargo run -p farcall --example existing_session`

use arrow::datatypes::DataType;
use async_trait::async_trait;
use datafusion::common::ScalarValue;
use datafusion::prelude::SessionContext;
use farcall::FarcallSession;
use farcall::udf::{AsyncFunction, AsyncScalarFunction, CallContext, CallError, Declaration};

/// Looks up the length of a text, one row at a time.
#[derive(Debug)]
struct Length(Declaration);

#[async_trait]
impl AsyncScalarFunction for Length {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(
        &self,
        args: Vec<ScalarValue>,
        _: &CallContext,
    ) -> Result<ScalarValue, CallError> {
        match &args[0] {
            ScalarValue::Utf8(Some(text)) => Ok(ScalarValue::from(text.chars().count() as i64)),
            other => Err(CallError::rejected("remote_length", format!("not a text: {other}"))),
        }
    }
}

#[tokio::main]
async fn main() -> datafusion::error::Result<()> {
    let existing = SessionContext::new();
    existing.sql("CREATE TABLE words AS VALUES ('one'), ('three'), ('seven')").await?;
    let session = FarcallSession::builder().with_state(existing.state()).build()?;
    let declaration = Declaration::new("remote_length", vec![DataType::Utf8], DataType::Int64);
    session.register(AsyncFunction::scalar(Length(declaration)));
    session.sql("SELECT sum(remote_length(column1)) AS letters FROM words").await?.show().await
}
