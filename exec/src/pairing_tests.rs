use datafusion::arrow::array::{AsArray, Int64Array, ListBuilder, StringBuilder, StructBuilder};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{binary, col, lit};

use super::*;

/// What is found for x = 0, 1, ..: two rows, none, a NULL list, one, three.
const FOUND: [Option<&[&str]>; 5] =
    [Some(&["a", "b"]), Some(&[]), None, Some(&["c"]), Some(&["a", "d", "a"])];

#[test]
fn an_inner_join_gives_each_match() {
    let rows = ["0 a", "0 b", "3 c", "4 a", "4 d", "4 a"];
    assert_eq!(joined(LookupJoinType::Inner, None), rows);
}

#[test]
fn a_left_join_keeps_rows_without_a_match_in_their_place() {
    let rows = ["0 a", "0 b", "1 -", "2 -", "3 c", "4 a", "4 d", "4 a"];
    assert_eq!(joined(LookupJoinType::Left, None), rows);
}

#[test]
fn semi_and_anti_joins_give_each_row_once_or_not() {
    assert_eq!(joined(LookupJoinType::Semi, None), ["0", "3", "4"]);
    assert_eq!(joined(LookupJoinType::Anti, None), ["1", "2"]);
}

#[test]
fn a_condition_holds_of_pairs_before_a_row_is_extended() {
    let name_is_a = || Some("a");
    assert_eq!(joined(LookupJoinType::Inner, name_is_a()), ["0 a", "4 a", "4 a"]);
    let rows = ["0 a", "1 -", "2 -", "3 -", "4 a", "4 a"];
    assert_eq!(joined(LookupJoinType::Left, name_is_a()), rows);
    assert_eq!(joined(LookupJoinType::Semi, name_is_a()), ["0", "4"]);
    assert_eq!(joined(LookupJoinType::Anti, name_is_a()), ["1", "2", "3"]);
}

#[test]
fn parts_hold_as_many_pairs_as_a_batch_may() {
    let sizes = |max_pairs: usize| -> Vec<usize> {
        let pairing = pairing(LookupJoinType::Left, None, max_pairs);
        pairing.join(Ok(rows(&FOUND))).map(|part| part.unwrap().num_rows()).collect()
    };
    assert_eq!(sizes(8), [8]);
    assert_eq!(sizes(4), [4, 4]);
    assert_eq!(sizes(1), [2, 1, 1, 1, 3]);
}

#[test]
fn one_row_for_each_key_is_not_copied() {
    let batch = rows(&[Some(&["a"]), Some(&["b"]), Some(&["c"])]);
    let whole = batch.column(1).as_list::<i32>().values().as_struct().column(0).clone();
    let pairing = pairing(LookupJoinType::Left, None, 8192);
    let part = pairing.join(Ok(batch.slice(1, 2))).next().unwrap().unwrap();
    assert_eq!(write(&part), ["1 b", "2 c"]);
    let bytes = |array: &ArrayRef| array.as_string::<i32>().values().as_ptr();
    assert_eq!(bytes(part.column(1)), bytes(&whole));
}

#[test]
fn an_error_of_the_input_comes_out_once() {
    let pairing = pairing(LookupJoinType::Inner, None, 8);
    let error = datafusion::common::internal_err!("broken");
    let out: Vec<_> = pairing.join(error).collect();
    assert!(matches!(out.as_slice(), [Err(_)]));
}

fn joined(join_type: LookupJoinType, name: Option<&str>) -> Vec<String> {
    let rows_of = |max_pairs: usize| -> Vec<String> {
        let pairing = pairing(join_type, name, max_pairs);
        pairing.join(Ok(rows(&FOUND))).flat_map(|part| write(&part.unwrap())).collect()
    };
    let all = rows_of(100);
    // The cut makes no difference to the rows.
    for max_pairs in 1..8 {
        assert_eq!(rows_of(max_pairs), all);
    }
    all
}

fn write(batch: &RecordBatch) -> Vec<String> {
    let x = batch.column(0).as_primitive::<Int64Type>();
    let write = |row: usize| match batch.columns().get(1) {
        None => x.value(row).to_string(),
        Some(names) if names.is_null(row) => format!("{} -", x.value(row)),
        Some(names) => format!("{} {}", x.value(row), names.as_string::<i32>().value(row)),
    };
    (0..batch.num_rows()).map(write).collect()
}

fn pairing(join_type: LookupJoinType, name: Option<&str>, max_pairs: usize) -> Arc<Pairing> {
    let x = Field::new("x", DataType::Int64, true);
    let pairs = Schema::new(vec![x.clone(), Field::new("name", DataType::Utf8, true)]);
    let pairs = Arc::new(pairs);
    let condition = name.map(|name| {
        let column = col("name", &pairs).unwrap();
        binary(column, Operator::Eq, lit(name), &pairs).unwrap()
    });
    let schema = match join_type.gives_columns() {
        true => Arc::clone(&pairs),
        false => Arc::new(Schema::new(vec![x])),
    };
    Arc::new(Pairing { join_type, found: 1, condition, pairs, schema, max_pairs })
}

fn rows(found: &[Option<&[&str]>]) -> RecordBatch {
    let fields = Fields::from(vec![Field::new("name", DataType::Utf8, true)]);
    let mut lists =
        ListBuilder::new(StructBuilder::new(fields, vec![Box::new(StringBuilder::new())]));
    for names in found {
        for name in names.unwrap_or_default() {
            lists.values().field_builder::<StringBuilder>(0).unwrap().append_value(name);
            lists.values().append(true);
        }
        lists.append(names.is_some());
    }
    let x: Int64Array = (0..found.len() as i64).map(Some).collect();
    let columns: [(&str, ArrayRef); 2] = [("x", Arc::new(x)), ("found", Arc::new(lists.finish()))];
    RecordBatch::try_from_iter(columns).unwrap()
}
