//! How a `try_` form is named and typed: the value, and the error beside it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields};

/// The field of a `try_` result that holds the value.
pub(crate) const VALUE: &str = "value";
/// The field of a `try_` result that holds the error.
const ERROR: &str = "error";

pub(crate) fn try_name(name: &str) -> String {
    format!("try_{name}")
}

/// Returns the name of the function whose `try_` form has this name.
pub(crate) fn untried(name: &str) -> Option<&str> {
    name.strip_prefix("try_")
}

/// Returns the type of a `try_` result.
pub(crate) fn try_type(value: &FieldRef) -> DataType {
    let value = value.as_ref().clone().with_name(VALUE).with_nullable(true);
    let error = Field::new(ERROR, DataType::Struct(error_fields()), true);
    DataType::Struct(vec![value, error].into())
}

/// Returns the fields of an error as a value.
pub(crate) fn error_fields() -> Fields {
    vec![
        Field::new("code", DataType::Utf8, false),
        Field::new("message", DataType::Utf8, false),
        Field::new("attempts", DataType::Int32, false),
    ]
    .into()
}

/// Returns the field of the values inside a `try_` result, the field itself for any other.
pub(crate) fn value_field(result: &FieldRef) -> FieldRef {
    match result.data_type() {
        DataType::Struct(fields) => match fields.iter().find(|field| field.name() == VALUE) {
            Some(value) => Arc::clone(value),
            None => Arc::clone(result),
        },
        _ => Arc::clone(result),
    }
}

#[cfg(test)]
mod tests {
    use datafusion_expr::ReturnFieldArgs;

    use super::*;
    use crate::AsyncFunction;
    use crate::testing::ScriptedFunction;

    #[test]
    fn the_try_form_has_its_own_name_and_type() {
        let tried = scripted().with_try();
        assert_eq!(
            (tried.name(), tried.declaration().aliases()),
            ("try_f", &["try_g".to_owned()][..])
        );
        let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
        let field = tried.declaration().return_field(&args).unwrap();
        assert_eq!(value_field(&field).data_type(), &DataType::Int64);
        let DataType::Struct(fields) = field.data_type() else { panic!("{field}") };
        assert_eq!(fields[1].data_type(), &DataType::Struct(error_fields()));
    }

    #[test]
    fn the_try_form_of_a_try_form_is_itself() {
        let tried = scripted().with_try();
        assert_eq!(tried.clone().with_try().name(), "try_f");
        assert_eq!(tried.tried(), Some(&scripted()));
        assert_ne!(tried, scripted());
    }

    #[test]
    fn the_try_form_of_a_shown_call_is_shown() {
        let (function, _) = ScriptedFunction::new("predict")
            .with_declaration(|d| d.with_display(|args| format!("PREDICT({})", args.join(", "))))
            .build();
        let tried = function.with_try();
        let display = tried.declaration().display().unwrap();
        assert_eq!(display(&["a".into()]), "try_PREDICT(a)");
    }

    fn scripted() -> AsyncFunction {
        let function = ScriptedFunction::new("f").with_declaration(|d| d.with_aliases(["g"]));
        function.build().0
    }
}
