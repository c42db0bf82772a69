//! The provider `local`: what CREATE MODEL checks, and queries over real HTTP.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float32Type, Float64Type};
use farcall_udf::ArgBatch;

use super::*;
use crate::test_context::{calling, opening};

#[tokio::test]
async fn one_declared_output_is_its_value() {
    let answer =
        ask(&[("model", "sentiment")], vec![text("label")], &["I love it", "I hate it"]).await;
    let labels: Vec<_> = answer.as_string_view().iter().flatten().collect();
    assert_eq!(labels, ["positive", "negative"]);
}

#[tokio::test]
async fn several_declared_outputs_are_a_struct_in_declared_order() {
    let outputs = vec![field("confidence", DataType::Float64), text("lang")];
    let answer = ask(&[("model", "language")], outputs, &["Ceci est une phrase en français"]).await;
    let row = answer.as_struct();
    assert_eq!(row.column(1).as_string_view().value(0), "fra");
    assert!(row.column(0).as_primitive::<Float64Type>().value(0) > 0.0);
}

#[tokio::test]
async fn an_embedding_is_a_list_or_a_vector_of_its_dimension() {
    let item = || Arc::new(Field::new("item", DataType::Float32, true));
    for (data_type, options) in [
        (DataType::List(item()), vec![("model", "embedding")]),
        (DataType::FixedSizeList(item(), 16), vec![("model", "embedding"), ("dimension", "16")]),
    ] {
        let length = if options.len() == 1 { 64 } else { 16 };
        let answer =
            ask(&options, vec![field("embedding", data_type.clone())], &["some words"]).await;
        assert_eq!(answer.data_type(), &data_type);
        let vector = match data_type {
            DataType::List(_) => answer.as_list::<i32>().value(0),
            _ => answer.as_fixed_size_list().value(0),
        };
        assert_eq!(vector.as_primitive::<Float32Type>().len(), length);
    }
}

#[tokio::test]
async fn a_runtime_has_one_server() {
    let runtime = Resources::default();
    let first = LocalServers::of(&runtime).get().await.unwrap();
    let second = LocalServers::of(&runtime).get().await.unwrap();
    assert_eq!(first.addr(), second.addr());
}

#[test]
fn a_server_that_went_down_with_its_tokio_runtime_is_started_again() {
    let runtime = Resources::default();
    for _ in 0..2 {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let server = tokio.block_on(LocalServers::of(&runtime).get()).unwrap();
        assert!(server.is_running());
    }
}

#[test]
fn what_create_model_cannot_have_is_told_with_what_there_is() {
    let language = [("model", "language")];
    let number = || field("n", DataType::Int64);
    let list = DataType::FixedSizeList(Arc::new(Field::new("item", DataType::Float32, true)), 3);
    for (options, input, output, told) in [
        (
            &[][..],
            text("t"),
            text("lang"),
            "option 'model': missing, expected one of language, sentiment, embedding",
        ),
        (
            &[("model", "mood")],
            text("t"),
            text("lang"),
            "no local model 'mood'; accepted: language, sentiment, embedding",
        ),
        (
            &[("modle", "x")],
            text("t"),
            text("lang"),
            "option 'model': missing, expected one of language, sentiment, embedding; there is 'modle'",
        ),
        (
            &[("model", "language"), ("dimension", "9")],
            text("t"),
            text("lang"),
            "option 'dimension': only model embedding has one, not language",
        ),
        (
            &[("model", "embedding"), ("dimension", "1")],
            text("t"),
            text("lang"),
            "'1' is not a number from 8 to 4096",
        ),
        (
            &language,
            number(),
            text("lang"),
            "input column n: local model language takes VARCHAR, got BIGINT",
        ),
        (
            &language,
            text("t"),
            text("label"),
            "output column label: local model language answers lang, confidence",
        ),
        (
            &language,
            text("t"),
            field("lang", DataType::Int64),
            "output column lang: local model language answers VARCHAR, got BIGINT",
        ),
        (
            &[("model", "embedding")],
            text("t"),
            field("embedding", list),
            "answers FLOAT[] with 64 numbers, got FLOAT[3]",
        ),
    ] {
        let definition = definition(options, vec![input], vec![output]);
        let declaration = Declaration::new("m", vec![], DataType::Null);
        let error = LocalProvider.function(&definition, declaration).unwrap_err().to_string();
        assert!(error.starts_with("Error during planning: model m: "), "{error}");
        assert!(error.contains(told), "{error}");
    }
}

fn field(name: &str, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(name, data_type, true))
}

fn text(name: &str) -> FieldRef {
    field(name, DataType::Utf8View)
}

fn definition(
    options: &[(&str, &str)],
    input: Vec<FieldRef>,
    output: Vec<FieldRef>,
) -> ModelDefinition {
    let options: BTreeMap<_, _> =
        options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ModelDefinition { name: "m".into(), input, output, provider: "local".into(), options }
}

/// Asks a model about texts and checks that it answers the declared type.
async fn ask(options: &[(&str, &str)], output: Vec<FieldRef>, texts: &[&str]) -> ArrayRef {
    let data_type = match output.as_slice() {
        [output] => output.data_type().clone(),
        outputs => DataType::Struct(outputs.to_vec().into()),
    };
    let definition = definition(options, vec![text("review")], output);
    let declaration = Declaration::new("m", vec![DataType::Utf8View], data_type.clone());
    let model = LocalProvider.function(&definition, declaration).unwrap();
    let opened = model.open(&opening(Arc::default())).await.unwrap();
    let column: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
    let args = ArgBatch::new(
        vec![column],
        vec![text("review")].into(),
        field("m", data_type),
        texts.len(),
    );
    let answer = model.eval_batch(args, &calling(1, &opened)).await.unwrap();
    assert!(answer.errors().is_empty());
    Arc::clone(answer.values())
}
