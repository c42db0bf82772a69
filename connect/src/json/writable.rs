//! [`problems`], which finds values without JSON form: floats and times that are none.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow::array::{Array, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// What is wrong, by position in an array.
pub(super) type Problems = BTreeMap<usize, String>;

/// Finds the values of an array that JSON cannot hold.
///
/// NULLs have no problem, and neither has what lies below them.
pub(super) fn problems(array: &dyn Array) -> Problems {
    match array.data_type() {
        DataType::Float32 => floats::<Float32Type>(array, f64::from),
        DataType::Float64 => floats::<Float64Type>(array, |value| value),
        DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(_, _) => times(array),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let range = |row| {
                (list.value_offsets()[row] as usize)..(list.value_offsets()[row + 1] as usize)
            };
            lists(array, list.values().as_ref(), range)
        }
        DataType::LargeList(_) => {
            let list = array.as_list::<i64>();
            let range = |row| {
                (list.value_offsets()[row] as usize)..(list.value_offsets()[row + 1] as usize)
            };
            lists(array, list.values().as_ref(), range)
        }
        DataType::FixedSizeList(_, length) => {
            let list = array.as_fixed_size_list();
            let length = usize::try_from(*length).unwrap_or(0);
            let range = |row| {
                let start = list.value_offset(row) as usize;
                start..start + length
            };
            lists(array, list.values().as_ref(), range)
        }
        DataType::Struct(_) => {
            let mut found = Problems::new();
            for column in array.as_struct().columns() {
                found.extend(problems(column.as_ref()));
            }
            found.retain(|row, _| array.is_valid(*row));
            found
        }
        _ => Problems::new(),
    }
}

fn floats<T: ArrowPrimitiveType>(array: &dyn Array, to_f64: impl Fn(T::Native) -> f64) -> Problems {
    let name = |value: f64| match value {
        f64::INFINITY => "infinity",
        f64::NEG_INFINITY => "-infinity",
        _ => "NaN",
    };
    let values = array.as_primitive::<T>().values();
    values
        .iter()
        .map(|value| to_f64(*value))
        .enumerate()
        .filter(|(row, value)| !value.is_finite() && array.is_valid(*row))
        .map(|(row, value)| (row, name(value).to_owned()))
        .collect()
}

/// Finds the times that are out of range; arrow-json would write an error's text for them.
fn times(array: &dyn Array) -> Problems {
    let options = FormatOptions::new();
    let Ok(formatter) = ArrayFormatter::try_new(array, &options) else { return Problems::new() };
    (0..array.len())
        .filter(|row| array.is_valid(*row) && formatter.value(*row).try_to_string().is_err())
        .map(|row| (row, "a date or time out of range".to_owned()))
        .collect()
}

fn lists(array: &dyn Array, values: &dyn Array, range: impl Fn(usize) -> Range<usize>) -> Problems {
    let found = problems(values);
    if found.is_empty() {
        return found;
    }
    (0..array.len())
        .filter(|row| array.is_valid(*row))
        .filter_map(|row| Some((row, found.range(range(row)).next()?.1.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, Date32Array, Float64Array, ListArray, StructArray, TimestampSecondArray,
    };
    use arrow::buffer::NullBuffer;
    use arrow::datatypes::Field;

    use super::*;

    fn rows(array: &dyn Array) -> Vec<usize> {
        problems(array).into_keys().collect()
    }

    #[test]
    fn nan_and_infinity_are_found_with_their_names() {
        let array = Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(f64::INFINITY)]);
        let found: Vec<_> = problems(&array).into_iter().collect();
        assert_eq!(found, [(1, "NaN".to_owned()), (3, "infinity".to_owned())]);
    }

    #[test]
    fn a_nan_below_a_null_does_no_harm() {
        let nulls = NullBuffer::from(vec![false, true]);
        let array = Float64Array::new(vec![f64::NAN, f64::NAN].into(), Some(nulls));
        assert_eq!(rows(&array), [1]);
    }

    #[test]
    fn a_sliced_list_names_its_own_row() {
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>(vec![
            Some(vec![Some(f64::NAN)]),
            Some(vec![Some(1.0)]),
            Some(vec![Some(2.0), Some(f64::NAN)]),
        ]);
        assert_eq!(rows(&list.slice(1, 2)), [1]);
    }

    #[test]
    fn a_struct_shares_the_problems_of_its_columns() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN]));
        let field = Arc::new(Field::new("x", DataType::Float64, true));
        assert_eq!(rows(&StructArray::from(vec![(field, column)])), [1]);
    }

    #[test]
    fn times_that_cannot_be_written_are_found() {
        assert_eq!(rows(&TimestampSecondArray::from(vec![0, i64::MAX])), [1]);
        assert_eq!(rows(&Date32Array::from(vec![0])), Vec::<usize>::new());
    }
}
