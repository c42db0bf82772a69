//! [`LocalModel`], the small models that come with farcall, and what they compute.

use arrow::datatypes::DataType;
use serde::Serialize;
use vader_sentimental::SentimentIntensityAnalyzer;
use xxhash_rust::xxh3::xxh3_64;

/// The length of an embedding unless `dimension` says otherwise.
pub(crate) const DEFAULT_DIMENSION: usize = 64;
/// The lengths that an embedding may have.
pub(crate) const DIMENSIONS: std::ops::RangeInclusive<usize> = 8..=4096;
/// The lengths of the n-grams of an embedding, in characters.
const GRAMS: std::ops::RangeInclusive<usize> = 3..=5;
/// The score from which VADER's authors call a text positive; its negative, negative.
const VADER_THRESHOLD: f64 = 0.05;

/// A model that runs in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalModel {
    /// Which language a text is written in, by its trigrams (whatlang).
    Language,
    /// Whether an English text is friendly, by a lexicon and rules (VADER).
    Sentiment,
    /// A vector in which texts with common pieces are close, by hashed character n-grams.
    Embedding,
}

/// One output of one row, as JSON writes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum Output {
    Null,
    Text(&'static str),
    Number(f64),
    Vector(Vec<f32>),
}

impl LocalModel {
    /// All models, in the order in which messages list them.
    pub const ALL: [LocalModel; 3] =
        [LocalModel::Language, LocalModel::Sentiment, LocalModel::Embedding];

    /// Finds a model by its name.
    pub(crate) fn find(name: &str) -> Option<LocalModel> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }

    /// Returns the names of all models for a message.
    pub(crate) fn names() -> String {
        Self::ALL.map(|model| model.name()).join(", ")
    }

    /// Returns the model's name.
    pub fn name(self) -> &'static str {
        match self {
            LocalModel::Language => "language",
            LocalModel::Sentiment => "sentiment",
            LocalModel::Embedding => "embedding",
        }
    }

    /// Returns the names of the outputs, and their types as SQL writes them.
    pub fn outputs(self) -> &'static [(&'static str, &'static str)] {
        match self {
            LocalModel::Language => &[("lang", "VARCHAR"), ("confidence", "DOUBLE")],
            LocalModel::Sentiment => &[("label", "VARCHAR"), ("score", "DOUBLE")],
            LocalModel::Embedding => &[("embedding", "FLOAT[]")],
        }
    }

    /// Returns the names of the outputs for a message.
    pub(crate) fn output_names(self) -> String {
        self.outputs().iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Says whether a column of this type can take an output.
    pub(crate) fn output_fits(self, output: &str, data_type: &DataType, dimension: usize) -> bool {
        let is_float = |data_type: &DataType| data_type.is_floating();
        let declared = self.outputs().iter().find(|(name, _)| *name == output);
        match declared.map(|(_, sql_type)| *sql_type) {
            Some("VARCHAR") => is_text(data_type),
            Some("DOUBLE") => is_float(data_type),
            Some(_) => match data_type {
                DataType::List(item) | DataType::LargeList(item) => is_float(item.data_type()),
                DataType::FixedSizeList(item, length) => {
                    is_float(item.data_type()) && usize::try_from(*length) == Ok(dimension)
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Computes all outputs of a text, in the order of [`LocalModel::outputs`].
    ///
    /// A text without letters has no language and no embedding: NULL.
    pub(crate) fn answer(self, text: &str, dimension: usize) -> Vec<Output> {
        match self {
            LocalModel::Language => match whatlang::detect(text) {
                Some(found) => {
                    vec![Output::Text(found.lang().code()), Output::Number(found.confidence())]
                }
                None => vec![Output::Null, Output::Null],
            },
            LocalModel::Sentiment => {
                let score = SentimentIntensityAnalyzer::new().polarity_scores(text).compound;
                let label = match score {
                    score if score >= VADER_THRESHOLD => "positive",
                    score if score <= -VADER_THRESHOLD => "negative",
                    _ => "neutral",
                };
                vec![Output::Text(label), Output::Number(score)]
            }
            LocalModel::Embedding => {
                vec![embed(text, dimension).map_or(Output::Null, Output::Vector)]
            }
        }
    }

    /// Returns the outputs of a row without a text.
    pub(crate) fn nulls(self) -> Vec<Output> {
        vec![Output::Null; self.outputs().len()]
    }
}

/// Says whether a type holds texts.
pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Counts the n-grams of each word into hashed places, with hashed signs, and scales to length 1.
fn embed(text: &str, dimension: usize) -> Option<Vec<f32>> {
    let mut sums = vec![0_f64; dimension];
    let lower = text.to_lowercase();
    for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        // The borders of the word are part of its n-grams, so "cat" differs from "concat".
        let padded = format!("<{word}>");
        let starts: Vec<usize> =
            padded.char_indices().map(|(at, _)| at).chain([padded.len()]).collect();
        for length in GRAMS {
            for ends in starts.windows(length + 1) {
                let hash = xxh3_64(&padded.as_bytes()[ends[0]..ends[length]]);
                let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
                sums[(hash % dimension as u64) as usize] += sign;
            }
        }
    }
    let norm = sums.iter().map(|sum| sum * sum).sum::<f64>().sqrt();
    (norm > 0.0).then(|| sums.into_iter().map(|sum| (sum / norm) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_told_apart() {
        for (text, code) in [
            ("Ceci est une phrase écrite en français pour le test", "fra"),
            ("Dies ist ein deutscher Satz, der geprüft werden soll", "deu"),
            ("これは日本語の文章です", "jpn"),
        ] {
            assert_eq!(LocalModel::Language.answer(text, 0)[0], Output::Text(code));
        }
        assert_eq!(LocalModel::Language.answer("123 !", 0), LocalModel::Language.nulls());
    }

    #[test]
    fn friendly_and_unfriendly_texts_are_told_apart() {
        for (text, label) in [
            ("I love this, it is wonderful!", "positive"),
            ("Terrible. I hate it.", "negative"),
            ("The box is on the table.", "neutral"),
        ] {
            assert_eq!(LocalModel::Sentiment.answer(text, 0)[0], Output::Text(label), "{text}");
        }
    }

    #[test]
    fn an_embedding_has_length_one_and_the_same_value_every_time() {
        let vector = embed("The quick brown fox", 64).unwrap();
        let norm: f32 = vector.iter().map(|x| x * x).sum();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        assert_eq!(embed("the QUICK brown, fox!", 64).unwrap(), vector);
    }

    #[test]
    fn texts_with_common_words_are_closer_than_others() {
        let near = cosine("cheap flights to Paris", "cheap flight to paris");
        let far = cosine("cheap flights to Paris", "database index maintenance");
        assert!(near > 0.7 && far < 0.4, "{near} {far}");
    }

    #[test]
    fn a_text_without_words_has_no_embedding() {
        assert_eq!(LocalModel::Embedding.answer(" ?! ", 64), [Output::Null]);
    }

    fn cosine(left: &str, right: &str) -> f32 {
        let (left, right) = (embed(left, 256).unwrap(), embed(right, 256).unwrap());
        left.iter().zip(right).map(|(l, r)| l * r).sum()
    }
}
