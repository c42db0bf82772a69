//! Round trips of every type through the wire form, and what happens to answers that do not fit.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::*;
use farcall_udf::{ArgBatch, CallError};

use super::*;

#[test]
fn integers_keep_all_64_bits() {
    round_trip(Arc::new(Int64Array::from(vec![Some(i64::MAX), None, Some(i64::MIN)])));
    round_trip(Arc::new(UInt64Array::from(vec![Some(u64::MAX), None, Some(0)])));
    round_trip(Arc::new(Int8Array::from(vec![i8::MIN, i8::MAX])));
    round_trip(Arc::new(UInt32Array::from(vec![u32::MIN, u32::MAX])));
}

#[test]
fn floats_keep_every_bit() {
    let values =
        vec![Some(0.1), None, Some(-0.0), Some(f64::MAX), Some(f64::MIN_POSITIVE), Some(5e-324)];
    round_trip(Arc::new(Float64Array::from(values)));
    round_trip(Arc::new(Float32Array::from(vec![
        0.1,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-45,
        16_777_217.0,
    ])));
}

#[test]
fn texts_keep_every_character() {
    let texts = vec![
        Some(""),
        None,
        Some("\"\\\u{0}\u{7}\n\t"),
        Some("naïve 日本 \u{1F600}"),
        Some("]}, [{"),
    ];
    let array: ArrayRef = Arc::new(StringArray::from(texts));
    round_trip(cast(&array, &DataType::Utf8View).unwrap());
    round_trip(cast(&array, &DataType::LargeUtf8).unwrap());
    round_trip(array);
}

#[test]
fn booleans_come_back() {
    round_trip(Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])));
}

#[test]
fn binary_keeps_every_byte() {
    let all: Vec<u8> = (0..=255).collect();
    let array: ArrayRef = Arc::new(BinaryArray::from(vec![Some(all.as_slice()), None, Some(b"")]));
    round_trip(cast(&array, &DataType::BinaryView).unwrap());
    round_trip(cast(&array, &DataType::LargeBinary).unwrap());
    round_trip(array);
    round_trip(Arc::new(
        FixedSizeBinaryArray::try_from_iter([[1_u8, 255].as_slice()].into_iter()).unwrap(),
    ));
}

#[test]
fn decimals_keep_every_digit() {
    let digits = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
    let values = vec![Some(digits), None, Some(-digits), Some(1), Some(0)];
    let array = Decimal128Array::from(values).with_precision_and_scale(38, 10).unwrap();
    round_trip(Arc::new(array));
    let wide = Decimal256Array::from(vec![i256::from_i128(digits)]);
    round_trip(Arc::new(wide.with_precision_and_scale(76, 20).unwrap()));
    round_trip(Arc::new(
        Decimal64Array::from(vec![-1_250]).with_precision_and_scale(10, 3).unwrap(),
    ));
}

#[test]
fn dates_come_back_also_far_away() {
    round_trip(Arc::new(Date32Array::from(vec![
        Some(19_723),
        None,
        Some(-719_893),
        Some(10_000_000),
    ])));
}

#[test]
fn times_of_day_keep_their_fraction() {
    round_trip(Arc::new(Time32SecondArray::from(vec![Some(0), None, Some(86_399)])));
    round_trip(Arc::new(Time32MillisecondArray::from(vec![43_200_001])));
    round_trip(Arc::new(Time64MicrosecondArray::from(vec![43_200_000_001])));
    round_trip(Arc::new(Time64NanosecondArray::from(vec![86_399_999_999_999])));
}

#[test]
fn timestamps_keep_their_fraction_and_zone() {
    let nanos = vec![Some(1_704_067_200_123_456_789), None, Some(-1), Some(0)];
    round_trip(Arc::new(TimestampNanosecondArray::from(nanos.clone())));
    round_trip(Arc::new(TimestampNanosecondArray::from(nanos).with_timezone("+05:30")));
    round_trip(Arc::new(TimestampMicrosecondArray::from(vec![1_704_067_200_123_456])));
    round_trip(Arc::new(TimestampMillisecondArray::from(vec![-1, 999]).with_timezone("UTC")));
    round_trip(Arc::new(TimestampSecondArray::from(vec![1_704_067_200])));
}

#[test]
fn the_hour_that_comes_twice_is_told_apart_by_its_offset() {
    let summer_and_winter = vec![1_729_987_200, 1_729_990_800];
    round_trip(Arc::new(
        TimestampSecondArray::from(summer_and_winter).with_timezone("Europe/Berlin"),
    ));
}

#[test]
fn lists_keep_nulls_and_emptiness_apart() {
    let list = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(1), None]),
        None,
        Some(vec![]),
        Some(vec![Some(i64::MAX)]),
    ]);
    round_trip(Arc::new(list.slice(1, 3)));
    let offsets = OffsetBuffer::new(vec![0, 1, 1, 4].into());
    let item = Arc::new(Field::new("item", list.data_type().clone(), true));
    round_trip(Arc::new(ListArray::new(item, offsets, Arc::new(list), None)));
}

#[test]
fn vectors_of_fixed_length_come_back() {
    let vectors = vec![Some(vec![Some(0.25), Some(-1.5)]), None];
    round_trip(Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2)));
}

#[test]
fn structs_keep_null_members_and_null_structs_apart() {
    let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, None]));
    let sizes: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, None]));
    let fields = Fields::from(vec![
        Field::new("na\"me", DataType::Utf8, true),
        Field::new("size", DataType::Int64, true),
    ]);
    let nulls = Some(vec![true, true, false].into());
    round_trip(Arc::new(StructArray::new(fields, vec![names, sizes], nulls)));
}

#[test]
fn one_column_is_sent_as_bare_values() {
    let body = written(&[("x", Arc::new(Int64Array::from(vec![Some(1), None])))]);
    assert_eq!(body, r#"{"inputs":[1,null]}"#);
}

#[test]
fn several_columns_are_sent_as_objects_with_their_nulls() {
    let body = written(&[
        ("a", Arc::new(Int64Array::from(vec![Some(1), None]))),
        ("b", Arc::new(StringArray::from(vec!["x", "y"]))),
    ]);
    assert_eq!(body, r#"{"inputs":[{"a":1,"b":"x"},{"a":null,"b":"y"}]}"#);
}

#[test]
fn a_row_with_nan_is_left_out_and_named() {
    let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 3.0]));
    let encoded = encode("m", "inputs", &[field("x", &column)], &args(&[("x", column)])).unwrap();
    assert_eq!(encoded.body, br#"{"inputs":[1.0,3.0]}"#);
    assert_eq!(encoded.sent, 2);
    let [(1, error)] = encoded.refused.as_slice() else { panic!("{:?}", encoded.refused) };
    assert_eq!(error.to_string(), "m cannot convert column x to JSON: row 2 of 3 holds NaN");
}

#[test]
fn several_outputs_are_read_by_name_in_any_order() {
    let answer = r#" {"id": 7, "outputs": [{"score": 1, "more": [], "label": "a"}, null]} "#;
    let (values, errors) = read(&label_and_score(), 2, answer).unwrap();
    assert!(errors.is_empty());
    assert_eq!(values.as_struct().column(0).as_string::<i32>().value(0), "a");
    assert!(values.is_null(1));
}

#[test]
fn a_missing_column_is_told_by_name_and_row() {
    let answer = r#"{"outputs": [{"label": "a", "score": 1}, {"label": "a", "points": 1}]}"#;
    assert_eq!(
        failure(&label_and_score(), 2, answer),
        "m answered values of type nothing in row 2 of 2 where DOUBLE (column score) is declared"
    );
}

#[test]
fn a_wrong_type_is_told_with_column_row_and_value() {
    let answer = r#"{"outputs": [{"label": "a", "score": "high"}]}"#;
    assert_eq!(
        failure(&label_and_score(), 1, answer),
        "m answered values of type a string (\"high\") in row 1 of 1 where DOUBLE (column score) \
         is declared"
    );
}

#[test]
fn fewer_and_more_rows_are_counted() {
    let outputs = [Arc::new(Field::new("y", DataType::Int64, true))];
    for (answer, got) in [(r#"{"outputs":[1]}"#, 1), (r#"{"outputs":[1,2,3]}"#, 3)] {
        let error = read(&outputs, 2, answer).unwrap_err();
        assert!(
            matches!(error, CallError::RowCount { sent: 2, got: g, .. } if g == got),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_json_or_has_another_shape_is_quoted() {
    let outputs = [Arc::new(Field::new("y", DataType::Int64, true))];
    assert_eq!(
        failure(&outputs, 1, "<html>"),
        "m answered something malformed: the body is not JSON (expected value at line 1 column 1): \
         <html>"
    );
    for shape in ["[1]", r#"{"outputs": 1}"#, r#"{"rows": [1]}"#, "7"] {
        let told =
            format!("m answered something malformed: the body has no array \"outputs\": {shape}");
        assert_eq!(failure(&outputs, 1, shape), told);
    }
}

#[test]
fn json_that_arrow_would_forgive_is_refused() {
    let outputs = [Arc::new(Field::new("y", DataType::Int64, true))];
    for answer in [r#"{"outputs":[1 2]}"#, r#"{"outputs":[1,,2]}"#, r#"{"outputs":[1,2]} x"#] {
        assert!(failure(&outputs, 2, answer).contains("is not JSON"), "{answer}");
    }
}

#[test]
fn a_row_error_fails_its_row_alone() {
    let outputs = [Arc::new(Field::new("y", DataType::Int64, true))];
    let (values, errors) = read(&outputs, 2, r#"{"outputs":[{"error":"too long"},5]}"#).unwrap();
    assert_eq!(values.as_primitive::<Int64Type>().value(1), 5);
    let [(0, error)] = errors.as_slice() else { panic!("{errors:?}") };
    assert_eq!(error.to_string(), "m rejected the request: too long");
}

#[test]
fn a_declared_field_error_is_an_ordinary_value() {
    let fields = vec![Field::new("error", DataType::Utf8, true)];
    let outputs = [Arc::new(Field::new("y", DataType::Struct(fields.into()), true))];
    let (values, errors) = read(&outputs, 1, r#"{"outputs":[{"error":"none"}]}"#).unwrap();
    assert!(errors.is_empty());
    assert!(values.is_valid(0));
}

#[test]
fn a_text_that_is_no_time_is_told_with_its_row() {
    let outputs = [Arc::new(Field::new("at", DataType::Timestamp(TimeUnit::Second, None), true))];
    let told = failure(&outputs, 2, r#"{"outputs":["2024-01-01T00:00:00Z","yesterday"]}"#);
    assert!(told.contains("column at, row 2 of 2: failed to parse \"yesterday\""), "{told}");
}

#[test]
fn a_null_where_the_model_promises_none_is_refused() {
    let mut outputs = label_and_score();
    outputs[0] = Arc::new(Field::new("label", DataType::Utf8, false));
    let told = failure(&outputs, 1, r#"{"outputs":[{"label":null,"score":1}]}"#);
    assert!(told.contains("VARCHAR NOT NULL (column label)"), "{told}");
}

fn label_and_score() -> Vec<FieldRef> {
    vec![
        Arc::new(Field::new("label", DataType::Utf8, true)),
        Arc::new(Field::new("score", DataType::Float64, true)),
    ]
}

fn field(name: &str, array: &ArrayRef) -> FieldRef {
    Arc::new(Field::new(name, array.data_type().clone(), true))
}

fn args(columns: &[(&str, ArrayRef)]) -> ArgBatch {
    let fields: Vec<FieldRef> = columns.iter().map(|(name, array)| field(name, array)).collect();
    let return_field = Arc::new(Field::new("m", DataType::Null, true));
    let rows = columns.first().map_or(0, |(_, array)| array.len());
    let columns = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    ArgBatch::new(columns, fields.into(), return_field, rows)
}

fn written(columns: &[(&str, ArrayRef)]) -> String {
    let inputs: Vec<FieldRef> = columns.iter().map(|(name, array)| field(name, array)).collect();
    String::from_utf8(encode("m", "inputs", &inputs, &args(columns)).unwrap().body).unwrap()
}

fn return_field(outputs: &[FieldRef]) -> FieldRef {
    let data_type = match outputs {
        [output] => output.data_type().clone(),
        outputs => DataType::Struct(outputs.to_vec().into()),
    };
    Arc::new(Field::new("m", data_type, true))
}

fn read(
    outputs: &[FieldRef],
    sent: usize,
    body: &str,
) -> Result<(ArrayRef, Vec<(usize, CallError)>), CallError> {
    let return_field = return_field(outputs);
    let secrets = Secrets::default();
    Answer { function: "m", outputs, return_field: &return_field, secrets: &secrets }
        .decode(sent, body.as_bytes())
}

fn failure(outputs: &[FieldRef], sent: usize, body: &str) -> String {
    read(outputs, sent, body).unwrap_err().to_string()
}

/// Sends values as the only column and as one of two, and reads them back from the same text.
fn round_trip(array: ArrayRef) {
    let column = field("x", &array);
    let body = written(&[("x", Arc::clone(&array))]).replace("inputs", "outputs");
    let (values, errors) = read(&[Arc::clone(&column)], array.len(), &body).unwrap();
    assert!(errors.is_empty());
    assert_eq!(&values, &array, "{body}");

    let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..array.len() as i32));
    let both = [column, field("n", &numbers)];
    let body = written(&[("x", Arc::clone(&array)), ("n", numbers)]).replace("inputs", "outputs");
    let (values, _) = read(&both, array.len(), &body).unwrap();
    assert_eq!(values.as_struct().column(0), &array, "{body}");
}
