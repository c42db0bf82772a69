//! The nodes that make one answer out of a row's candidates, in DataFusion's protobuf plans.

use std::sync::Arc;

use datafusion::common::{Column, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::protobuf::LogicalExprNode;
use farcall_planner::logical::{Resolve, ResolveKind, ResolveOutput};
use prost::Message;

use super::{FarcallCodec, required};
use crate::resolve::{Resolution, ResolveExec};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ResolutionCode {
    Outer = 0,
    Semi = 1,
    Anti = 2,
    Mark = 3,
    Full = 4,
}

fn resolution_code(code: i32) -> Result<ResolutionCode> {
    ResolutionCode::try_from(code)
        .map_err(|_| plan_datafusion_err!("cannot decode a plan: no resolution {code}"))
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResolveNode {
    #[prost(enumeration = "ResolutionCode", tag = "1")]
    kind: i32,
    #[prost(message, optional, tag = "2")]
    mark: Option<LogicalExprNode>,
    #[prost(message, optional, tag = "3")]
    row_id: Option<LogicalExprNode>,
    #[prost(message, optional, tag = "4")]
    matched: Option<LogicalExprNode>,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<OutputNode>,
}

#[derive(Clone, PartialEq, Message)]
struct OutputNode {
    #[prost(message, optional, tag = "1")]
    column: Option<LogicalExprNode>,
    #[prost(bool, tag = "2")]
    nulled: bool,
}

impl ResolveNode {
    pub(super) fn encode(resolve: &Resolve, codec: &FarcallCodec) -> Result<Self> {
        let column = |column: &Column| serialize_expr(&Expr::Column(column.clone()), codec);
        let (kind, mark) = match resolve.kind() {
            ResolveKind::Outer => (ResolutionCode::Outer, None),
            ResolveKind::Semi => (ResolutionCode::Semi, None),
            ResolveKind::Anti => (ResolutionCode::Anti, None),
            ResolveKind::Mark(qualifier, name) => {
                let mark = Column::new(qualifier.clone(), name);
                (ResolutionCode::Mark, Some(column(&mark)?))
            }
            ResolveKind::Full => (ResolutionCode::Full, None),
        };
        let outputs = resolve
            .outputs()
            .iter()
            .map(|ResolveOutput { column: output, nulled }| {
                Ok(OutputNode { column: Some(column(output)?), nulled: *nulled })
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            kind: kind as i32,
            mark,
            row_id: Some(column(resolve.row_id())?),
            matched: Some(column(resolve.matched())?),
            outputs,
        })
    }

    pub(super) fn decode(
        self,
        input: &LogicalPlan,
        ctx: &TaskContext,
        codec: &FarcallCodec,
    ) -> Result<Resolve> {
        let column = |node: Option<LogicalExprNode>| match parse_expr(
            &required(node, "column")?,
            ctx,
            codec,
        )? {
            Expr::Column(column) => Ok(column),
            other => plan_err!("cannot decode a plan: {other} is no column"),
        };
        let Self { kind, mark, row_id, matched, outputs } = self;
        let kind = match resolution_code(kind)? {
            ResolutionCode::Outer => ResolveKind::Outer,
            ResolutionCode::Semi => ResolveKind::Semi,
            ResolutionCode::Anti => ResolveKind::Anti,
            ResolutionCode::Mark => {
                let Column { relation, name, .. } = column(mark)?;
                ResolveKind::Mark(relation, name)
            }
            ResolutionCode::Full => ResolveKind::Full,
        };
        let outputs = outputs
            .into_iter()
            .map(|OutputNode { column: output, nulled }| {
                Ok(ResolveOutput { column: column(output)?, nulled })
            })
            .collect::<Result<_>>()?;
        Resolve::try_new(Arc::new(input.clone()), kind, column(row_id)?, column(matched)?, outputs)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResolveExecNode {
    #[prost(enumeration = "ResolutionCode", tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    mark: String,
    #[prost(uint64, tag = "3")]
    row_id: u64,
    #[prost(uint64, tag = "4")]
    matched: u64,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<OutputIndexNode>,
}

#[derive(Clone, PartialEq, Message)]
struct OutputIndexNode {
    #[prost(uint64, tag = "1")]
    column: u64,
    #[prost(bool, tag = "2")]
    nulled: bool,
}

impl ResolveExecNode {
    pub(super) fn encode(resolve: &ResolveExec) -> Self {
        let (kind, mark) = match resolve.resolution() {
            Resolution::Outer => (ResolutionCode::Outer, String::new()),
            Resolution::Semi => (ResolutionCode::Semi, String::new()),
            Resolution::Anti => (ResolutionCode::Anti, String::new()),
            Resolution::Mark(name) => (ResolutionCode::Mark, name.clone()),
            Resolution::Full => (ResolutionCode::Full, String::new()),
        };
        let outputs = resolve
            .outputs()
            .iter()
            .map(|(column, nulled)| OutputIndexNode { column: *column as u64, nulled: *nulled })
            .collect();
        Self {
            kind: kind as i32,
            mark,
            row_id: resolve.row_id() as u64,
            matched: resolve.matched() as u64,
            outputs,
        }
    }

    pub(super) fn decode(self, input: &Arc<dyn ExecutionPlan>) -> Result<ResolveExec> {
        let Self { kind, mark, row_id, matched, outputs } = self;
        let width = input.schema().fields().len();
        let index = |column: u64| match usize::try_from(column) {
            Ok(column) if column < width => Ok(column),
            _ => plan_err!("cannot decode a plan: column {column} of {width}"),
        };
        let resolution = match resolution_code(kind)? {
            ResolutionCode::Outer => Resolution::Outer,
            ResolutionCode::Semi => Resolution::Semi,
            ResolutionCode::Anti => Resolution::Anti,
            ResolutionCode::Mark => Resolution::Mark(mark),
            ResolutionCode::Full => Resolution::Full,
        };
        let outputs = outputs
            .into_iter()
            .map(|OutputIndexNode { column, nulled }| Ok((index(column)?, nulled)))
            .collect::<Result<_>>()?;
        let input = Arc::clone(input);
        ResolveExec::try_new(resolution, index(row_id)?, index(matched)?, outputs, input)
    }
}
