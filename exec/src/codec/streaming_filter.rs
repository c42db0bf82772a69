//! The node of a streaming filter in DataFusion's protobuf plans.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion_proto::physical_plan::{PhysicalPlanDecodeContext, PhysicalProtoConverterExtension};
use datafusion_proto::protobuf::PhysicalExprNode;
use prost::Message;

use super::{FarcallCodec, required};
use crate::streaming_filter::StreamingFilterExec;

#[derive(Clone, PartialEq, Message)]
pub(super) struct StreamingFilterExecNode {
    #[prost(message, optional, tag = "1")]
    predicate: Option<PhysicalExprNode>,
    #[prost(message, optional, tag = "2")]
    projection: Option<ColumnsNode>,
    #[prost(uint64, optional, tag = "3")]
    fetch: Option<u64>,
    #[prost(uint32, tag = "4")]
    default_selectivity: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ColumnsNode {
    #[prost(uint64, repeated, tag = "1")]
    columns: Vec<u64>,
}

impl StreamingFilterExecNode {
    pub(super) fn encode(
        filter: &FilterExec,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<Self> {
        let columns = |projection: &[usize]| ColumnsNode {
            columns: projection.iter().map(|column| *column as u64).collect(),
        };
        Ok(Self {
            predicate: Some(converter.physical_expr_to_proto(filter.predicate(), codec)?),
            projection: filter.projection().as_deref().map(columns),
            fetch: filter.fetch().map(|rows| rows as u64),
            default_selectivity: u32::from(filter.default_selectivity()),
        })
    }

    pub(super) fn decode(
        self,
        input: &Arc<dyn ExecutionPlan>,
        ctx: &TaskContext,
        codec: &FarcallCodec,
        converter: &dyn PhysicalProtoConverterExtension,
    ) -> Result<StreamingFilterExec> {
        let Self { predicate, projection, fetch, default_selectivity } = self;
        let context = PhysicalPlanDecodeContext::new(ctx, codec);
        let predicate = required(predicate, "predicate")?;
        let predicate = converter.proto_to_physical_expr(&predicate, &input.schema(), &context)?;
        // A number that does not fit is refused where the filter is built.
        let projection = projection.map(|ColumnsNode { columns }| {
            columns.into_iter().map(|c| usize::try_from(c).unwrap_or(usize::MAX)).collect()
        });
        let filter = FilterExecBuilder::new(predicate, Arc::clone(input))
            .with_default_selectivity(u8::try_from(default_selectivity).unwrap_or(u8::MAX))
            .with_fetch(fetch.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)))
            .apply_projection(projection)?
            .build()?;
        Ok(StreamingFilterExec::new(Arc::new(filter)))
    }
}
