use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion_expr::ReturnFieldArgs;

use super::*;
use crate::adapt::any::AsyncFunction;
use crate::adapt::table_rows::list;
use crate::options::words::NullInput;
use crate::{Kind, rows_of};

#[test]
fn a_table_function_declares_a_list_of_rows_that_may_all_be_null() {
    let declaration = declared().with_null_input(NullInput::Send);
    assert!(declaration.returns_rows() && declaration.kind() == Kind::Table);
    let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
    let field = declaration.return_field(&args).unwrap();
    let columns = rows_of(field.data_type()).unwrap();
    assert_eq!(columns.iter().map(|column| column.name()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(columns.iter().all(|column| column.is_nullable()));
    assert_eq!(rows_of(&DataType::Int64), None);
}

#[test]
fn columns_may_follow_from_the_arguments() {
    let field: FieldRef = Arc::new(Field::new("x", DataType::Date32, true));
    let declaration = declared().with_columns(|args| {
        let x = args.arg_fields[0].as_ref().clone();
        Ok(vec![x.with_name("same"), Field::new("n", DataType::Int64, true)].into())
    });
    let args = ReturnFieldArgs { arg_fields: &[field], scalar_arguments: &[None] };
    let field = declaration.return_field(&args).unwrap();
    assert_eq!(rows_of(field.data_type()).unwrap()[0].data_type(), &DataType::Date32);
}

#[test]
fn the_try_form_is_no_table_function() {
    let function = AsyncFunction::table(Nothing(declared())).with_try();
    assert!(!function.declaration().returns_rows());
}

#[test]
fn an_answer_becomes_a_list_with_every_row_present() {
    let rows = batch([("n", numbers(&[1, 2])), ("t", texts(&["x", "y"]))]);
    let value = list("f", &columns(), rows).unwrap().to_array().unwrap();
    let lists = value.as_list::<i32>();
    assert_eq!((lists.len(), lists.value_length(0)), (1, 2));
    let rows = lists.values().as_struct();
    assert_eq!(rows.column_names(), ["a", "b", PRESENT]);
    assert_eq!(rows.column(0).as_primitive::<Int64Type>().values(), &[1, 2]);
    assert_eq!(rows.column(2).as_boolean().true_count(), 2);
}

#[test]
fn an_empty_answer_is_an_empty_list() {
    let rows = batch([("n", numbers(&[])), ("t", texts(&[]))]);
    let value = list("f", &columns(), rows).unwrap();
    assert!(!value.is_null() && value.to_array().unwrap().as_list::<i32>().value_length(0) == 0);
}

#[test]
fn an_answer_of_other_columns_is_malformed() {
    let error = list("f", &columns(), batch([("n", numbers(&[1]))])).unwrap_err();
    assert_eq!(error.to_string(), "f answered something malformed: 1 columns where 2 are declared");
    let error = list("f", &columns(), batch([("a", texts(&["1"])), ("b", texts(&["x"]))]));
    assert_eq!(
        error.unwrap_err().to_string(),
        "f answered values of type Utf8 where Int64 (column a) is declared"
    );
}

fn declared() -> Declaration {
    let columns =
        vec![Field::new("a", DataType::Int64, false), Field::new("b", DataType::Utf8, true)];
    Declaration::table("f", vec![DataType::Int64], columns)
}

fn columns() -> Vec<FieldRef> {
    let args = ReturnFieldArgs { arg_fields: &[], scalar_arguments: &[] };
    let field = declared().return_field(&args).unwrap();
    rows_of(field.data_type()).unwrap().to_vec()
}

fn numbers(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

#[derive(Debug)]
struct Nothing(Declaration);

#[async_trait]
impl AsyncTableFunction for Nothing {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn eval(&self, _: Vec<ScalarValue>, _: &CallContext) -> Result<RecordBatch, CallError> {
        Ok(batch([("a", numbers(&[])), ("b", texts(&[]))]))
    }
}
