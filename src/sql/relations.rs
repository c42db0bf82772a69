//! [`Relations`], which columns the relations of FROM have, as far as their text and the catalogue say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::TableReference;
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, TableAlias, TableFactor, TableVersion,
    TableWithJoins, VisitorMut,
};

use crate::sql::names::{normalize, table_reference};

/// A relation: the name under which its columns are read, if it has one.
#[derive(Debug, Clone)]
struct Relation {
    name: Option<String>,
    columns: Columns,
}

#[derive(Debug, Clone)]
enum Columns {
    /// Those of a table.
    Table(TableReference),
    Named(Vec<String>),
    /// What only planning can say: those of a star, of a function, ..
    Unknown,
}

/// What the relations in scope say of a column.
#[derive(Debug, PartialEq)]
pub(crate) enum Found {
    /// A table has it, of that type.
    Column(DataType),
    /// None has it.
    Nothing,
    /// A relation has it or may have it.
    Unknown,
}

/// The relations that a place in a query can read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Relations(Vec<Relation>);

impl Relations {
    /// Finds a column by its name, which may be qualified.
    pub(crate) async fn find(&self, column: &[Ident], context: &SessionContext) -> Found {
        let parts: Vec<String> = column.iter().map(normalize).collect();
        let Some((_, qualifiers)) = parts.split_last() else { return Found::Nothing };
        for Relation { name, columns } in &self.0 {
            let own =
                name.as_ref().and_then(|name| qualifiers.iter().position(|part| part == name));
            let rest = match own {
                Some(index) => &parts[index + 1..],
                None if self.is_qualified(qualifiers) => continue,
                None => &parts,
            };
            match (columns.find(&rest[0], context).await, rest.len()) {
                (Found::Nothing, _) => {}
                (Found::Column(DataType::Struct(_)), 2..) => return Found::Unknown,
                // Only structs have fields.
                (Found::Column(_), 2..) => {}
                (found, _) => return found,
            }
        }
        Found::Nothing
    }

    fn is_qualified(&self, qualifiers: &[String]) -> bool {
        self.0.iter().filter_map(|relation| relation.name.as_ref()).any(|n| qualifiers.contains(n))
    }
}

impl Columns {
    async fn find(&self, column: &str, context: &SessionContext) -> Found {
        match self {
            Columns::Table(table) => match context.table_provider(table.clone()).await {
                Ok(table) => match table.schema().field_with_name(column) {
                    Ok(field) => Found::Column(field.data_type().clone()),
                    Err(_) => Found::Nothing,
                },
                // That there is no such table is said when the query is planned.
                Err(_) => Found::Unknown,
            },
            Columns::Named(names) if !names.iter().any(|name| name == column) => Found::Nothing,
            Columns::Named(_) | Columns::Unknown => Found::Unknown,
        }
    }

    /// The columns of a query's rows, if each of them has a name.
    fn of_query(query: &Query) -> Self {
        let SetExpr::Select(select) = query.body.as_ref() else { return Columns::Unknown };
        let name = |item: &SelectItem| match item {
            SelectItem::ExprWithAlias { alias, .. } => Some(normalize(alias)),
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(normalize(name)),
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(normalize),
            _ => None,
        };
        let names: Option<Vec<String>> = select.projection.iter().map(name).collect();
        names.map_or(Columns::Unknown, Columns::Named)
    }

    /// An alias may rename all columns.
    fn renamed(self, alias: Option<&TableAlias>) -> Self {
        match alias {
            Some(alias) if !alias.columns.is_empty() => {
                Columns::Named(alias.columns.iter().map(|column| normalize(&column.name)).collect())
            }
            _ => self,
        }
    }
}

/// A table with a version: its name, the version, and what that can read.
pub(crate) struct Versioned {
    pub(crate) table: TableReference,
    pub(crate) version: TableVersion,
    pub(crate) relations: Relations,
}

/// Takes the versions of all tables, each with the relations of its query and of those around it.
#[derive(Default)]
pub(crate) struct Versions {
    pub(crate) found: Vec<Versioned>,
    /// The relations of each query around, the innermost last.
    scopes: Vec<Vec<Relation>>,
    /// Queries of WITH, which go before tables of their name.
    queries: BTreeMap<String, Columns>,
}

impl Versions {
    fn relation(&self, factor: &TableFactor) -> Relation {
        let named = |alias: &Option<TableAlias>| alias.as_ref().map(|alias| normalize(&alias.name));
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let last = name.0.last().and_then(|part| part.as_ident()).map(normalize);
                let query = match name.0.as_slice() {
                    [_] => last.as_ref().and_then(|name| self.queries.get(name)),
                    _ => None,
                };
                let columns = match (args, query) {
                    (Some(_), _) => Columns::Unknown,
                    (None, Some(query)) => query.clone(),
                    (None, None) => Columns::Table(table_reference(name)),
                };
                let columns = columns.renamed(alias.as_ref());
                Relation { name: named(alias).or(last), columns }
            }
            TableFactor::Derived { subquery, alias, .. } => {
                let columns = Columns::of_query(subquery).renamed(alias.as_ref());
                Relation { name: named(alias), columns }
            }
            TableFactor::Function { alias, .. }
            | TableFactor::TableFunction { alias, .. }
            | TableFactor::UNNEST { alias, .. } => {
                let columns = Columns::Unknown.renamed(alias.as_ref());
                Relation { name: named(alias), columns }
            }
            _ => Relation { name: None, columns: Columns::Unknown },
        }
    }

    /// Adds what a factor says, over the relations beside it.
    fn take(&mut self, factor: &mut TableFactor, beside: impl Iterator<Item = Relation>) {
        if let TableFactor::Table { name, version, .. } = factor
            && let Some(version) = version.take()
        {
            let around = self.scopes.iter().flatten().cloned();
            let relations = Relations(beside.chain(around).collect());
            self.found.push(Versioned { table: table_reference(name), version, relations });
        }
    }
}

impl VisitorMut for Versions {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            let columns = Columns::of_query(&cte.query).renamed(Some(&cte.alias));
            let name = normalize(&cte.alias.name);
            // Two queries of one name stand in different places, which are not told apart here.
            let known = self.queries.insert(name.clone(), columns);
            if known.is_some() {
                self.queries.insert(name, Columns::Unknown);
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut factors = Vec::new();
        select.from.iter_mut().for_each(|tables| collect(tables, &mut factors));
        let relations: Vec<Relation> = factors.iter().map(|factor| self.relation(factor)).collect();
        for (index, factor) in factors.into_iter().enumerate() {
            let beside = relations.iter().enumerate().filter(|(other, _)| *other != index);
            self.take(factor, beside.map(|(_, relation)| relation.clone()));
        }
        self.scopes.push(relations);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        // What stands in no SELECT: the tables of UPDATE, MERGE, ..
        self.take(factor, std::iter::empty());
        ControlFlow::Continue(())
    }
}

/// Collects the relations of FROM, those of joins in parentheses too.
fn collect<'a>(tables: &'a mut TableWithJoins, factors: &mut Vec<&'a mut TableFactor>) {
    let joined = tables.joins.iter_mut().map(|join| &mut join.relation);
    for factor in std::iter::once(&mut tables.relation).chain(joined) {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => collect(table_with_joins, factors),
            factor => factors.push(factor),
        }
    }
}
