//! The nodes of a lookup join in DataFusion's protobuf plans.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Column, plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_proto::logical_plan::from_proto::parse_expr;
use datafusion_proto::logical_plan::to_proto::serialize_expr;
use datafusion_proto::protobuf::{LogicalExprNode, PhysicalExprNode};
use farcall_planner::{AsyncLookupJoin, LookupColumn, LookupJoinType};
use prost::Message;

use super::{FarcallCodec, required};
use crate::async_lookup_join::AsyncLookupJoinExec;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum JoinCode {
    Inner = 0,
    Left = 1,
    Semi = 2,
    Anti = 3,
}

impl From<LookupJoinType> for JoinCode {
    fn from(join_type: LookupJoinType) -> Self {
        match join_type {
            LookupJoinType::Inner => JoinCode::Inner,
            LookupJoinType::Left => JoinCode::Left,
            LookupJoinType::Semi => JoinCode::Semi,
            LookupJoinType::Anti => JoinCode::Anti,
        }
    }
}

fn join_type(code: i32) -> Result<LookupJoinType> {
    match JoinCode::try_from(code) {
        Ok(JoinCode::Inner) => Ok(LookupJoinType::Inner),
        Ok(JoinCode::Left) => Ok(LookupJoinType::Left),
        Ok(JoinCode::Semi) => Ok(LookupJoinType::Semi),
        Ok(JoinCode::Anti) => Ok(LookupJoinType::Anti),
        Err(_) => Err(plan_datafusion_err!("cannot decode a plan: no lookup join {code}")),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LookupJoinNode {
    #[prost(enumeration = "JoinCode", tag = "1")]
    join_type: i32,
    #[prost(string, tag = "2")]
    table: String,
    #[prost(message, optional, tag = "3")]
    found: Option<LogicalExprNode>,
    #[prost(message, repeated, tag = "4")]
    columns: Vec<LogicalExprNode>,
    #[prost(message, optional, tag = "5")]
    condition: Option<LogicalExprNode>,
}

impl LookupJoinNode {
    pub(super) fn encode(join: &AsyncLookupJoin, codec: &FarcallCodec) -> Result<Self> {
        let column = |column: Expr| Ok(serialize_expr(&column, codec)?);
        let condition = join.condition();
        Ok(Self {
            join_type: JoinCode::from(join.join_type()) as i32,
            table: join.table().to_owned(),
            found: Some(column(Expr::Column(join.found().clone()))?),
            columns: join
                .columns()
                .iter()
                .map(|named| column(named.to_expr()))
                .collect::<Result<_>>()?,
            condition: condition.map(|expr| serialize_expr(expr, codec)).transpose()?,
        })
    }

    pub(super) fn decode(
        self,
        input: &LogicalPlan,
        ctx: &TaskContext,
        codec: &FarcallCodec,
    ) -> Result<AsyncLookupJoin> {
        let Self { join_type: code, table, found, columns, condition } = self;
        let column = |node: &LogicalExprNode| match parse_expr(node, ctx, codec)? {
            Expr::Column(column) => Ok(column),
            other => plan_err!("cannot decode a plan: {other} is no column"),
        };
        let named = |node: &LogicalExprNode| {
            let Column { relation, name, .. } = column(node)?;
            Ok(LookupColumn { qualifier: relation, name })
        };
        let condition = condition.as_ref();
        AsyncLookupJoin::try_new(
            Arc::new(input.clone()),
            join_type(code)?,
            table,
            column(&required(found, "column")?)?,
            columns.iter().map(named).collect::<Result<_>>()?,
            condition.map(|node| parse_expr(node, ctx, codec)).transpose()?,
        )
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct LookupJoinExecNode {
    #[prost(enumeration = "JoinCode", tag = "1")]
    join_type: i32,
    #[prost(string, tag = "2")]
    table: String,
    #[prost(uint64, tag = "3")]
    found: u64,
    #[prost(string, repeated, tag = "4")]
    columns: Vec<String>,
    #[prost(message, optional, tag = "5")]
    condition: Option<PhysicalExprNode>,
}

impl LookupJoinExecNode {
    /// `encode` writes an expression.
    pub(super) fn encode(
        join: &AsyncLookupJoinExec,
        encode: impl Fn(&Arc<dyn PhysicalExpr>) -> Result<PhysicalExprNode>,
    ) -> Result<Self> {
        Ok(Self {
            join_type: JoinCode::from(join.join_type()) as i32,
            table: join.table().to_owned(),
            found: join.found() as u64,
            columns: join.columns().to_vec(),
            condition: join.condition().map(encode).transpose()?,
        })
    }

    /// `decode` reads an expression over a schema.
    pub(super) fn decode(
        self,
        input: &Arc<dyn ExecutionPlan>,
        decode: impl Fn(&PhysicalExprNode, &SchemaRef) -> Result<Arc<dyn PhysicalExpr>>,
    ) -> Result<AsyncLookupJoinExec> {
        let Self { join_type: code, table, found, columns, condition } = self;
        let found = usize::try_from(found)
            .map_err(|_| plan_datafusion_err!("cannot decode a plan: column {found}"))?;
        let pairs = AsyncLookupJoinExec::pairs_of(&input.schema(), found, &columns)?;
        let condition = condition.map(|node| decode(&node, &pairs)).transpose()?;
        let input = Arc::clone(input);
        AsyncLookupJoinExec::try_new(join_type(code)?, table, found, columns, condition, input)
    }
}
