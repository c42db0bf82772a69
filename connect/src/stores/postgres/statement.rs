//! The SQL that a server gets: names quoted, keys as array parameters, values cast to what travels.

use datafusion_expr::Expr;
use tokio_postgres::types::{Kind, Type};

use super::filter;
use crate::stores::postgres::columns::{KeyPart, ServerColumn};
use crate::stores::postgres::names::{ALIAS, TableName, named};

/// How the keys are called where they have several columns.
const KEYS: &str = "k";

/// Writes a statement whose columns have the server's types, to ask for those.
pub(crate) fn describe(table: &TableName, columns: &[&str]) -> String {
    let columns: Vec<String> = columns.iter().map(|name| named(name)).collect();
    format!("SELECT {} FROM {} AS {ALIAS}", columns.join(", "), table.quoted())
}

/// A statement and what its answer holds.
#[derive(Debug)]
pub(crate) struct Select {
    pub(crate) sql: String,
    pub(crate) key: Vec<KeyPart>,
    /// The types of the columns behind those of the key.
    pub(crate) columns: Vec<ServerColumn>,
}

impl Select {
    /// Writes a statement; without a key it reads the whole table.
    ///
    /// The key's own columns stand in front, and say which key a row is for: the server may call
    /// equal what is not, by a collation or for a negative zero. So its comparison only has to find
    /// enough, and may use an index.
    ///
    /// `find` gives the columns of the filters.
    pub(crate) fn new(
        table: &TableName,
        key: &[ServerColumn],
        columns: Vec<ServerColumn>,
        filters: &[Expr],
        find: &dyn Fn(&str) -> Option<ServerColumn>,
    ) -> Option<Self> {
        let mut values: Vec<String> = key.iter().chain(&columns).map(ServerColumn::value).collect();
        if values.is_empty() {
            values.push("true".to_owned());
        }
        let mut conditions: Vec<String> = key_condition(key).into_iter().collect();
        for filter in filters {
            conditions.push(filter::write(filter, find)?);
        }
        let filter = match conditions.is_empty() {
            true => String::new(),
            false => format!(" WHERE {}", conditions.join(" AND ")),
        };
        let sql =
            format!("SELECT {} FROM {} AS {ALIAS}{filter}", values.join(", "), table.quoted());
        Some(Self { sql, key: key.iter().map(ServerColumn::key_part).collect(), columns })
    }
}

/// Writes that a row is of one of the keys.
///
/// Measured with 128 keys, prepared, over 500,000 rows: `= ANY` took 0.75 ms where a join with
/// `unnest` took 0.85 ms; for two columns IN took 1.4 ms, and a join 1.2 ms, which gives rows twice
/// where two keys are equal to the server.
fn key_condition(key: &[ServerColumn]) -> Option<String> {
    match key {
        [] => None,
        [only] => Some(format!("{} = ANY({})", only.compared(), only.keys(1))),
        parts => {
            let compared: Vec<String> = parts.iter().map(ServerColumn::compared).collect();
            let arrays: Vec<String> =
                parts.iter().enumerate().map(|(index, part)| part.keys(index + 1)).collect();
            let names: Vec<String> = (0..parts.len()).map(|index| format!("k{index}")).collect();
            Some(format!(
                "({}) IN (SELECT {names} FROM unnest({}) AS {KEYS}({names}))",
                compared.join(", "),
                arrays.join(", "),
                names = names.join(", ")
            ))
        }
    }
}

/// Returns how a type of the server is called in messages.
pub(crate) fn type_name(server: &Type) -> String {
    match server.kind() {
        Kind::Array(element) => format!("{}[]", element.name()),
        _ => server.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;
    use datafusion_expr::{col, lit};

    use super::*;
    use crate::stores::postgres::ColumnType;

    fn column(name: &str, declared: DataType, server: Type) -> ServerColumn {
        let travels = ColumnType::of(&declared).unwrap();
        ServerColumn { name: name.to_owned(), declared, travels, server }
    }

    fn select(key: &[ServerColumn], columns: &[ServerColumn], filters: &[Expr]) -> String {
        let table = TableName::parse("shop.\"U\"").unwrap();
        let all: Vec<ServerColumn> = key.iter().chain(columns).cloned().collect();
        let find = |name: &str| all.iter().find(|column| column.name == name).cloned();
        Select::new(&table, key, columns.to_vec(), filters, &find).unwrap().sql
    }

    #[test]
    fn one_column_of_a_key_is_compared_with_an_array() {
        let id = column("id", DataType::Int64, Type::INT4);
        let name = column("a\"b", DataType::Utf8, Type::TEXT);
        insta::assert_snapshot!(
            select(&[id], &[name], &[col("id").gt(lit(7_i64))]),
            @r#"SELECT t."id"::int8, t."a""b" FROM "shop"."U" AS t WHERE t."id" = ANY($1::int8[]) AND (t."id"::int8 > (7)::int8)"#
        );
    }

    #[test]
    fn several_columns_of_a_key_are_rows() {
        let key = [
            column("a", DataType::Utf8, Type::UUID),
            column("b", DataType::Utf8, Type::BPCHAR),
            column("c", DataType::Utf8, Type::INET),
        ];
        insta::assert_snapshot!(
            select(&key, &[], &[]),
            @r#"SELECT t."a"::text, t."b"::text, abbrev(t."c") FROM "shop"."U" AS t WHERE (t."a", t."b", abbrev(t."c")) IN (SELECT k0, k1, k2 FROM unnest($1::text[]::uuid[], $2::text[]::bpchar[], $3::text[]) AS k(k0, k1, k2))"#
        );
    }

    #[test]
    fn a_table_without_key_is_read_whole() {
        let list = column("l", DataType::new_list(DataType::Int64, true), Type::INT4_ARRAY);
        insta::assert_snapshot!(select(&[], &[list], &[]), @r#"SELECT t."l"::int8[] FROM "shop"."U" AS t"#);
        insta::assert_snapshot!(select(&[], &[], &[]), @r#"SELECT true FROM "shop"."U" AS t"#);
    }

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        for (text, name) in [
            ("Users", "\"users\""),
            ("a.B.\"C.d\"", "\"a\".\"b\".\"C.d\""),
            ("\"a\"\"b\"", "\"a\"\"b\""),
            (" shop . users ", "\"shop\".\"users\""),
            (" \"Shop\" . \" Users \" ", "\"Shop\".\" Users \""),
            ("ÄRger.\"Ö\"", "\"Ärger\".\"Ö\""),
            ("\"a.b\".C", "\"a.b\".\"c\""),
        ] {
            assert_eq!(TableName::parse(text).unwrap().quoted(), name);
        }
        for text in ["", "a.", "\"a", "a.b.c.d", ".a", "a\"b\"", "\"a\"b", "\"a\" é"] {
            assert!(TableName::parse(text).unwrap_err().starts_with("expected the name"), "{text}");
        }
    }
}
