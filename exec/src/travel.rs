//! What a task needs besides its plan: settings and parameters as text, and whether calls can travel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::common::plan_err;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use farcall_udf::FarcallConfig;

use crate::async_calc::AsyncCalcExec;
use crate::codec::check_function;
use crate::session_ext::SessionExt;

/// Session and job parameters stand below this.
const PARAMETER: &str = "farcall.parameter.";
/// Options of DataFusion's on which calls, or the shape of their requests, depend.
const SHARED: [&str; 2] = ["datafusion.execution.batch_size", "datafusion.execution.time_zone"];

impl SessionExt {
    /// Returns what a task on another machine needs of a session to make the same calls: its options
    /// under `farcall.`, its parameters, and two of DataFusion's options.
    pub fn export(config: &SessionConfig) -> Vec<(String, String)> {
        let mut pairs = FarcallConfig::of(config.options()).set_entries();
        let shared = config.options().entries().into_iter();
        let shared = shared.filter(|entry| SHARED.contains(&entry.key.as_str()));
        pairs.extend(shared.filter_map(|entry| Some((entry.key, entry.value?))));
        if let Some(ext) = SessionExt::of(config) {
            let parameters = ext.parameters().iter();
            pairs.extend(
                parameters.map(|(name, value)| (format!("{PARAMETER}{name}"), value.clone())),
            );
        }
        pairs
    }

    /// Makes the configuration of a task of what [`SessionExt::export`] returned elsewhere; this is
    /// the extension of the machine that runs it.
    ///
    /// # Errors
    /// A planning error for a name that is not exported, and those of options.
    pub fn import(
        self,
        config: SessionConfig,
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<SessionConfig> {
        let mut config = config.with_option_extension(FarcallConfig::default());
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if let Some(name) = name.strip_prefix(PARAMETER) {
                parameters.insert(name.to_owned(), value);
            } else if name.starts_with("farcall.") || SHARED.contains(&name.as_str()) {
                config.options_mut().set(&name, &value)?;
            } else {
                return plan_err!(
                    "a task was sent the setting {name}, which is not one of farcall's"
                );
            }
        }
        Ok(config.with_extension(Arc::new(self.with_parameters(parameters))))
    }
}

/// Checks when planning that the calls of a plan can be encoded: an engine that finds out when it
/// sends the plan may not say why it failed.
///
/// Returns the functions that travel by their name only, closures for instance: whoever runs the plan
/// must have registered them.
///
/// # Errors
/// A planning error for a model or a lookup table whose definition holds a secret.
pub fn check_travel(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<String>> {
    let mut by_name = BTreeSet::new();
    plan.apply(|node| {
        for call in node.downcast_ref::<AsyncCalcExec>().into_iter().flat_map(AsyncCalcExec::calls)
        {
            check_function(&call.function)?;
            if call.function.declaration().recipe().is_none() {
                by_name.insert(call.function.name().to_owned());
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(by_name.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::physical_plan::empty::EmptyExec;
    use farcall_udf::testing::ScriptedFunction;
    use farcall_udf::{CallOptions, Estimate, Kind};

    use super::*;
    use crate::planned_call::PlannedCall;

    #[test]
    fn settings_and_parameters_come_over_as_they_were_set() {
        let parameters = [("tenant".to_owned(), "a.b".to_owned())].into();
        let ext = SessionExt::new(Arc::default(), Arc::new(parameters));
        let mut here = SessionConfig::new()
            .with_batch_size(77)
            .with_extension(Arc::new(ext))
            .with_option_extension(FarcallConfig::default());
        for (name, value) in [
            ("farcall.async_scalar.timeout", "7s"),
            ("farcall.function.a.b.rpm", "60"),
            ("farcall.planner.parallel_calls", "false"),
        ] {
            here.options_mut().set(name, value).unwrap();
        }
        let worker = SessionExt::new(Arc::default(), Arc::default()).with_task_slot(3).unwrap();
        let there = worker.import(SessionConfig::new(), SessionExt::export(&here)).unwrap();
        let config = |config: &SessionConfig| FarcallConfig::of(config.options());
        assert_eq!(config(&there), config(&here));
        assert_eq!(there.batch_size(), 77);
        let ext = SessionExt::of(&there).unwrap();
        assert_eq!((ext.parameters()["tenant"].as_str(), ext.is_task()), ("a.b", true));
    }

    #[test]
    fn what_is_not_exported_is_refused() {
        let worker = SessionExt::new(Arc::default(), Arc::default());
        let pairs = [("datafusion.catalog.location".to_owned(), "/".to_owned())];
        let error = worker.import(SessionConfig::new(), pairs).unwrap_err().to_string();
        assert!(error.contains("the setting datafusion.catalog.location"), "{error}");
    }

    #[test]
    fn a_plan_tells_what_travels_by_name_and_what_not_at_all() {
        assert_eq!(check_travel(&plan(|declaration| declaration)).unwrap(), ["f"]);
        let secret = plan(|declaration| declaration.with_kind(Kind::Model));
        let error = check_travel(&secret).unwrap_err().to_string();
        assert!(error.contains("model f cannot travel in a plan"), "{error}");
    }

    fn plan(
        declare: impl FnOnce(farcall_udf::Declaration) -> farcall_udf::Declaration,
    ) -> Arc<dyn ExecutionPlan> {
        let (function, _) = ScriptedFunction::new("f").with_declaration(declare).build();
        let config = FarcallConfig::default();
        let options = config.resolve(&function, &CallOptions::new()).unwrap();
        let call = PlannedCall {
            function,
            site: 1,
            options,
            estimate: Estimate::default(),
            args: vec![],
            guard: None,
            field: Arc::new(datafusion::arrow::datatypes::Field::new("v", DataType::Int64, true)),
        };
        let input =
            Arc::new(EmptyExec::new(Arc::new(datafusion::arrow::datatypes::Schema::empty())));
        Arc::new(AsyncCalcExec::try_new(vec![call], input).unwrap())
    }
}
