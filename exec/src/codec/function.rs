//! Functions in DataFusion's protobuf plans: which one a call runs, and its options.

use std::sync::Arc;

use datafusion::common::{plan_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use farcall_udf::{
    AsyncFunction, AsyncUdf, CallError, CallOptions, Estimate, Estimated, Kind, Level, Recipe,
    Resolved,
};
use prost::Message;

use super::{FunctionSource, required};

#[derive(Clone, PartialEq, Message)]
pub(super) struct FunctionNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(message, optional, tag = "3")]
    recipe: Option<RecipeNode>,
}

#[derive(Clone, PartialEq, Message)]
struct RecipeNode {
    #[prost(string, tag = "1")]
    kind: String,
    #[prost(bytes = "vec", tag = "2")]
    bytes: Vec<u8>,
}

impl FunctionNode {
    /// Errors: a planning error for a model or a lookup table whose definition holds a secret.
    pub(super) fn encode(function: &AsyncFunction) -> Result<Self> {
        let declaration = function.declaration();
        check_function(function)?;
        Ok(Self {
            name: declaration.name().to_owned(),
            version: declaration.version().to_owned(),
            recipe: declaration.recipe().map(|Recipe { kind, bytes }| RecipeNode {
                kind: kind.clone(),
                bytes: bytes.clone(),
            }),
        })
    }

    /// Errors: a planning error for a function that is not there, or has another version.
    pub(super) fn decode(self, functions: &dyn FunctionSource) -> Result<AsyncFunction> {
        let Self { name, version, recipe } = self;
        let function = match recipe {
            Some(RecipeNode { kind, bytes }) => functions.by_recipe(&Recipe { kind, bytes })?,
            None => functions.by_name(&name)?.ok_or_else(|| {
                plan_datafusion_err!("async function {name} is not registered here")
            })?,
        };
        let here = function.declaration().version();
        if here != version {
            return plan_err!(
                "async function {name} has version '{here}' here, the plan needs '{version}'"
            );
        }
        Ok(function)
    }
}

/// Refuses what is defined in SQL and has no recipe: then an option holds a secret.
pub(crate) fn check_function(function: &AsyncFunction) -> Result<()> {
    let declaration = function.declaration();
    let kind = match declaration.kind() {
        Kind::Model => "model",
        Kind::Lookup => "lookup table",
        Kind::Scalar | Kind::Table => return Ok(()),
    };
    match declaration.recipe() {
        Some(_) => Ok(()),
        None => plan_err!(
            "{kind} {} cannot travel in a plan: an option holds a secret itself, write \
             ${{env:NAME}} in its place",
            declaration.name()
        ),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct OptionNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl OptionNode {
    pub(super) fn encode(options: &CallOptions) -> Vec<Self> {
        let entries = options.entries().into_iter();
        entries.map(|(name, value)| Self { name: name.to_owned(), value }).collect()
    }

    pub(super) fn decode(nodes: Vec<Self>) -> Result<CallOptions> {
        let mut options = CallOptions::new();
        for Self { name, value } in nodes {
            options.set(&name, &value)?;
        }
        Ok(options)
    }
}

/// What an option is, and who said so.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResolvedOptionNode {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(string, tag = "3")]
    level: String,
}

impl ResolvedOptionNode {
    pub(super) fn encode(options: &Resolved) -> Vec<Self> {
        let entries = options.entries().into_iter();
        let node = |(name, value, level): (&str, String, Level)| Self {
            name: name.to_owned(),
            value,
            level: level.to_string(),
        };
        entries.map(node).collect()
    }

    pub(super) fn decode(nodes: Vec<Self>) -> Result<Resolved> {
        let mut entries = Vec::with_capacity(nodes.len());
        for Self { name, value, level } in nodes {
            let level = level
                .parse()
                .map_err(|message| CallError::BadOption { option: name.clone(), message })?;
            entries.push((name, value, level));
        }
        Ok(Resolved::from_entries(entries)?)
    }
}

/// What is known of a call; a number is declared, observed, or not there.
#[derive(Clone, PartialEq, Message)]
pub(super) struct EstimateNode {
    #[prost(double, optional, tag = "1")]
    declared_cost: Option<f64>,
    #[prost(double, optional, tag = "2")]
    observed_cost: Option<f64>,
    #[prost(double, optional, tag = "3")]
    declared_selectivity: Option<f64>,
    #[prost(double, optional, tag = "4")]
    observed_selectivity: Option<f64>,
}

impl EstimateNode {
    pub(super) fn encode(estimate: Estimate) -> Self {
        let numbers = |number| match number {
            Some(Estimated::Declared(number)) => (Some(number), None),
            Some(Estimated::Observed(number)) => (None, Some(number)),
            None => (None, None),
        };
        let Estimate { cost, selectivity } = estimate;
        let (declared_cost, observed_cost) = numbers(cost);
        let (declared_selectivity, observed_selectivity) = numbers(selectivity);
        Self { declared_cost, observed_cost, declared_selectivity, observed_selectivity }
    }

    pub(super) fn decode(self) -> Estimate {
        let Self { declared_cost, observed_cost, declared_selectivity, observed_selectivity } =
            self;
        let number = |declared: Option<f64>, observed: Option<f64>| {
            declared.map(Estimated::Declared).or(observed.map(Estimated::Observed))
        };
        Estimate {
            cost: number(declared_cost, observed_cost),
            selectivity: number(declared_selectivity, observed_selectivity),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct UdfNode {
    #[prost(message, optional, tag = "1")]
    function: Option<FunctionNode>,
    #[prost(message, repeated, tag = "2")]
    options: Vec<OptionNode>,
    #[prost(uint64, optional, tag = "3")]
    site: Option<u64>,
    #[prost(message, optional, tag = "4")]
    estimate: Option<EstimateNode>,
}

impl UdfNode {
    pub(super) fn encode(udf: &AsyncUdf) -> Result<Self> {
        Ok(Self {
            function: Some(FunctionNode::encode(udf.function())?),
            options: OptionNode::encode(udf.call_options()),
            site: udf.site(),
            estimate: Some(EstimateNode::encode(udf.estimate())),
        })
    }

    pub(super) fn decode(self, functions: &dyn FunctionSource) -> Result<Arc<ScalarUDF>> {
        let Self { function, options, site, estimate } = self;
        let function = required(function, "function")?.decode(functions)?;
        let mut udf = AsyncUdf::new(function).with_call_options(OptionNode::decode(options)?);
        if let Some(site) = site {
            udf = udf.with_site(site);
        }
        if let Some(estimate) = estimate {
            udf = udf.with_estimate(estimate.decode());
        }
        Ok(Arc::new(udf.into_scalar_udf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_a_call_travels_with_where_it_comes_from() {
        let declared = Estimate { cost: Some(Estimated::Declared(0.0)), selectivity: None };
        let observed = Estimate {
            cost: Some(Estimated::Observed(0.5)),
            selectivity: Some(Estimated::Observed(1.0)),
        };
        for estimate in [declared, observed, Estimate::default()] {
            assert_eq!(EstimateNode::encode(estimate).decode(), estimate);
        }
    }
}
