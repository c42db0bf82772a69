//! [`Placeholder`], how SQL carries a target and its options through DataFusion's planner.

use datafusion_common::{Result, ScalarValue, internal_err};
use datafusion_expr::Expr;
use farcall_udf::CallOptions;

/// The arguments of a function that only stands for something: PREDICT until its model is bound, the
/// condition of a LOOKUP hint until the lookup takes it off.
///
/// ```text
/// f('target', 2, 'timeout', '1s', 'dedup', 'false', argument, ..)
/// ```
/// The name of the target and the options are literals, each option by its name and value; what
/// follows are the arguments of the call.
#[derive(Debug, PartialEq)]
pub struct Placeholder<'a> {
    /// The model or table that is meant.
    pub target: &'a str,
    options: Vec<(&'a str, &'a str)>,
    /// How many arguments of the function come before those of the call.
    pub leading: usize,
}

impl<'a> Placeholder<'a> {
    /// Makes the placeholder of a call without options, whose arguments follow the target.
    pub fn without_options(target: &'a str) -> Self {
        Self { target, options: Vec::new(), leading: 1 }
    }

    /// Reads the literals among the arguments of a function; `None` if they are no placeholder's.
    pub fn read(literals: impl IntoIterator<Item = Option<&'a ScalarValue>>) -> Option<Self> {
        let mut literals = literals.into_iter();
        let mut text = || literals.next()??.try_as_str()?;
        let target = text()?;
        let number = match literals.next()?? {
            ScalarValue::Int64(Some(number)) => usize::try_from(*number).ok()?,
            _ => return None,
        };
        let mut text = || literals.next()??.try_as_str()?;
        let mut options = Vec::new();
        for _ in 0..number {
            options.push((text()?, text()?));
        }
        Some(Self { target, options, leading: 2 + 2 * number })
    }

    /// Reads the arguments of a function.
    pub fn of(args: &'a [Expr]) -> Option<Self> {
        Self::read(args.iter().map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        }))
    }

    /// Returns the options as they were written, by name and value.
    pub fn entries(&self) -> &[(&'a str, &'a str)] {
        &self.options
    }

    /// Returns the options of the call.
    ///
    /// # Errors
    /// An internal error: whoever writes a placeholder has checked the options.
    pub fn options(&self) -> Result<CallOptions> {
        let mut options = CallOptions::new();
        for (name, value) in &self.options {
            if let Err(error) = options.set(name, value) {
                return internal_err!("an option of '{}' was not checked: {error}", self.target);
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::{col, lit};

    use super::*;

    #[test]
    fn target_options_and_arguments_are_told_apart() {
        let args = [lit("m"), lit(1i64), lit("timeout"), lit("1s"), lit("sent"), col("a")];
        let read = Placeholder::of(&args).unwrap();
        assert_eq!((read.target, read.leading), ("m", 4));
        assert_eq!(read.entries(), [("timeout", "1s")]);
        assert_eq!(read.options().unwrap().entries(), [("timeout", "1s".to_owned())]);
    }

    #[test]
    fn other_arguments_are_no_placeholder() {
        for args in [
            vec![],
            vec![lit("m")],
            vec![lit("m"), lit("1")],
            vec![lit("m"), lit(-1i64)],
            vec![col("m"), lit(0i64)],
            vec![lit("m"), lit(1i64), lit("timeout")],
            vec![lit("m"), lit(1i64), lit("timeout"), col("a")],
        ] {
            assert_eq!(Placeholder::of(&args), None, "{args:?}");
        }
    }
}
