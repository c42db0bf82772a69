//! The one place where what was set at all levels becomes what holds for a call.

use arrow::datatypes::DataType;
use datafusion_common::{Result, plan_err};

use crate::Cache;
use crate::adapt::any::AsyncFunction;
use crate::contract::declaration::Declaration;
use crate::contract::kind::Kind;
use crate::error::CallError;
use crate::options::CallOptions;
use crate::options::words::{Mode, NullInput, RetryStrategy};
use crate::settings::config::FarcallConfig;
use crate::settings::level::Level;
use crate::settings::misfit::misfit;
use crate::settings::resolved::Resolved;

/// Rows in a request of a batch function that declares nothing else.
const DEFAULT_BATCH_SIZE: usize = 32;

impl FarcallConfig {
    /// Resolves the options of one call, from the widest level to the narrowest.
    ///
    /// Default < session (`async_scalar`, then `ml_predict` for a model; `async_lookup` alone for a
    /// lookup, `async_table` alone for a table function) < function, model or table <
    /// `farcall.function.<name>` < call, which is a hint for a lookup.
    ///
    /// A session that allows more rows in a request than a function takes gets what that one takes.
    ///
    /// # Errors
    /// A planning error that names the function and the option, for what is set for this function and
    /// cannot be honoured, for options that contradict each other, and for a value that is none.
    pub fn resolve(&self, function: &AsyncFunction, call: &CallOptions) -> Result<Resolved> {
        let declared = function.declaration().options();
        let own = self.of_function(function);
        let resolved = self.resolve_for(Subject::of(function), declared, &own, call)?;
        check_cache(function, &resolved)?;
        Ok(resolved)
    }

    /// Resolves the options of reading a lookup table as a whole, which is no call.
    ///
    /// # Errors
    /// As [`FarcallConfig::resolve`].
    pub fn resolve_scan(&self, table: &str, declared: &CallOptions) -> Result<Resolved> {
        let declaration = Declaration::new(table, vec![], DataType::Null).with_kind(Kind::Lookup);
        let subject = Subject::batches_of(table, &declaration);
        self.resolve_for(subject, declared, &self.of_name(table), &CallOptions::new())
    }

    fn resolve_for(
        &self,
        subject: Subject<'_>,
        declared: &CallOptions,
        own: &CallOptions,
        call: &CallOptions,
    ) -> Result<Resolved> {
        let mut resolved = subject.defaults();
        for options in self.groups(subject.kind) {
            resolved.take(options, Level::Session);
        }
        // A request has the rows that the function takes, whatever a session allows.
        if resolved.max_batch_size.0 > subject.max_rows {
            resolved.max_batch_size = (subject.max_rows, subject.declared);
        }
        let levels = [
            (subject.declared, declared),
            (Level::Function, own),
            (Level::of_call(subject.kind), call),
        ];
        for (level, options) in levels {
            subject.check(options)?;
            resolved.take(options, level);
        }
        if subject.declaration.has_side_effects() && !resolved.has_retry_options() {
            resolved.max_attempts.0 = 1;
        }
        subject.check_together(&resolved)?;
        Ok(resolved)
    }

    /// Returns what function and call say, whatever a session has to say.
    pub(crate) fn stated(function: &AsyncFunction, call: &CallOptions) -> CallOptions {
        function.declaration().options().overlay(call)
    }
}

/// The function whose calls are made, as far as it decides about options.
struct Subject<'f> {
    name: &'f str,
    declaration: &'f Declaration,
    kind: Kind,
    /// The level of what the function declares.
    declared: Level,
    /// The rows that a request can hold.
    max_rows: usize,
}

impl<'f> Subject<'f> {
    fn of(function: &'f AsyncFunction) -> Self {
        // The `try_` form of a table function is a function of an expression, with options of tables.
        let declaration = function.tried().unwrap_or(function).declaration();
        let batches = Self::batches_of(function.name(), declaration);
        match function.is_row_wise() {
            true => Self { max_rows: 1, ..batches },
            false => batches,
        }
    }

    fn batches_of(name: &'f str, declaration: &'f Declaration) -> Self {
        let kind = declaration.kind();
        let declared = Level::of_declaration(kind);
        Self { name, declaration, kind, declared, max_rows: declaration.max_rows() }
    }

    fn defaults(&self) -> Resolved {
        let mut resolved = Resolved::defaults();
        let rows = DEFAULT_BATCH_SIZE.min(self.max_rows);
        let level = if self.max_rows <= rows { self.declared } else { Level::Default };
        resolved.max_batch_size = (rows, level);
        resolved.adaptive.0 = self.declaration.is_adaptive();
        resolved.null_input.0 = match self.kind {
            // NULL equals nothing, whatever a store would find for it.
            Kind::Lookup => NullInput::Skip,
            Kind::Scalar | Kind::Table | Kind::Model => self.declaration.null_input(),
        };
        if self.declaration.has_side_effects() {
            resolved.mode.0 = Mode::Sync;
        }
        if let Some(cost) = self.declaration.cost() {
            resolved.cost = (cost, self.declared);
        }
        if let Some(share) = self.declaration.selectivity() {
            resolved.selectivity = (share, self.declared);
        }
        resolved
    }

    /// Refuses what is set for this function and cannot be honoured.
    fn check(&self, options: &CallOptions) -> Result<()> {
        if let Some((option, message)) = options.mistake() {
            let option = format!("{option} of {}", self.name);
            return Err(CallError::BadOption { option, message: message.to_owned() }.into());
        }
        let most = self.max_rows;
        if let Some(rows) = options.max_batch_size().filter(|rows| *rows > most) {
            return plan_err!(
                "{}: option 'max_batch_size': value {rows} is not accepted, a request holds at most \
                 {most}",
                self.name
            );
        }
        match misfit(self.kind, options) {
            Some((option, why)) => plan_err!("{}: option '{option}': {why}", self.name),
            None => Ok(()),
        }
    }

    /// Refuses options that contradict each other, if neither is a session's.
    fn check_together(&self, resolved: &Resolved) -> Result<()> {
        let is_narrow = |level: Level| !matches!(level, Level::Session | Level::Default);
        let (delay, most) = (&resolved.retry_delay, &resolved.max_retry_delay);
        let grows = resolved.retry_strategy() == RetryStrategy::ExponentialBackoff;
        if grows && delay.0 > most.0 && is_narrow(delay.1) && is_narrow(most.1) {
            let [delay, most] = [delay.0, most.0].map(humantime::format_duration);
            return plan_err!(
                "{}: option 'retry_delay': '{delay}' is longer than 'max_retry_delay', '{most}'",
                self.name
            );
        }
        Ok(())
    }
}

/// Checks that what is to be cached as a whole is a lookup table that can be read.
///
/// # Errors
/// A planning error that names the function, or the table and its connector, and what is accepted.
fn check_cache(function: &AsyncFunction, options: &Resolved) -> Result<()> {
    if options.cache() != Cache::Full {
        return Ok(());
    }
    let declaration = function.tried().unwrap_or(function).declaration();
    match declaration.reader() {
        Some(reader) => reader().map(|_| ()),
        None => plan_err!(
            "{}: option 'cache': 'full' is for lookup tables, accepted are 'none', 'partial'",
            declaration.name()
        ),
    }
}

#[cfg(test)]
#[path = "resolver_tests.rs"]
mod tests;
