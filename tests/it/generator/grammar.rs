//! [`Grammar`], which writes random queries over the small tables.

use std::collections::BTreeSet;

use super::random::Random;

/// A query, and what is in it.
#[derive(Debug, Clone)]
pub struct Generated {
    pub sql: String,
    /// Its constructs that matter to what is known to be wrong.
    pub features: BTreeSet<&'static str>,
}

/// Writes random queries.
pub struct Grammar {
    random: Random,
    features: BTreeSet<&'static str>,
    aliases: usize,
    /// Whether volatile functions may be called here: not where upstream may evaluate more or fewer
    /// times than SQL says.
    volatile: bool,
    /// Whether the query is one for the first row of each group.
    first_rows: bool,
}

/// The columns that an expression may read; all are integers that may be NULL.
type Columns = Vec<String>;

const TABLES: &[(&str, &[&str])] =
    &[("t", &["id", "x", "k", "n"]), ("b", &["y", "k", "z"]), ("c", &["k", "w"])];

/// Columns of `t` with a field of a struct.
const WITH_FIELD: (&str, &[&str]) = ("t", &["id", "x", "s['foo']"]);

impl Grammar {
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            features: BTreeSet::new(),
            aliases: 0,
            volatile: true,
            first_rows: seed % 30 == 7,
        }
    }

    /// Writes a query.
    pub fn query(&mut self) -> Generated {
        self.features.clear();
        self.aliases = 0;
        self.volatile = !self.first_rows && self.random.chance(10);
        let width = 1 + self.random.below(3);
        if self.first_rows {
            let sql = self.first_of_groups(width);
            return Generated { sql, features: self.features.clone() };
        }
        // Most faults show in small queries, which also are planned faster.
        let depth = 1 + self.random.below(2);
        let mut sql = self.body(depth, width);
        if self.random.chance(30) {
            sql = self.ordered(sql, width);
        }
        Generated { sql, features: self.features.clone() }
    }

    fn feature(&mut self, feature: &'static str) {
        self.features.insert(feature);
    }

    /// Notes a semi or anti join.
    fn semi_join(&mut self) {
        self.feature("join");
        self.feature("semi join");
    }

    /// Notes a join over a subquery whose rows are put together from others, or over an outer join;
    /// outer joins of VALUES are noted where their kind is known.
    fn join_above(&mut self) {
        let above = ["aggregate", "window", "distinct", "limit", "set operation", "outer join"];
        if above.iter().any(|feature| self.features.contains(feature)) {
            self.feature("join above");
        }
    }

    /// Sorts by every column, so that a limit leaves no choice.
    ///
    /// Not above grouping sets: where one key depends on another (as all do behind a global aggregate),
    /// upstream leaves it out of the sort, though the sets make it NULL in some rows.
    fn ordered(&mut self, sql: String, width: usize) -> String {
        if self.features.contains("grouping sets") {
            return sql;
        }
        let keys: Vec<String> = (1..=width)
            .map(|column| {
                let direction =
                    self.random.pick(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"]);
                format!("{column}{direction}")
            })
            .collect();
        let first = match self.random.chance(30) {
            true => {
                let name = *self.random.pick(&["h", "m", "pn"]);
                format!("{name}(c1), ")
            }
            false => String::new(),
        };
        let mut sql = format!("{sql} ORDER BY {first}{}", keys.join(", "));
        if self.random.chance(50) {
            self.feature("limit");
            sql += &format!(" LIMIT {}", 1 + self.random.below(12));
            if self.random.chance(25) {
                sql += &format!(" OFFSET {}", self.random.below(4));
            }
        }
        sql
    }

    /// Writes a SELECT or a set operation with columns c1, c2, ...
    fn body(&mut self, depth: usize, width: usize) -> String {
        if depth > 0 && self.random.chance(15) {
            self.feature("set operation");
            let op = *self.random.pick(&["UNION ALL", "UNION ALL", "UNION", "INTERSECT", "EXCEPT"]);
            if op == "INTERSECT" || op == "EXCEPT" {
                self.semi_join();
            }
            let (left, right) = (self.select(depth - 1, width), self.select(depth - 1, width));
            return format!("{left} {op} {right}");
        }
        self.select(depth, width)
    }

    fn select(&mut self, depth: usize, width: usize) -> String {
        let (from, columns) = self.from(depth);
        let mut condition = String::new();
        if self.random.chance(60) {
            condition = format!(" WHERE {}", self.boolean(2, &columns, depth > 0));
            // A condition on the groups of a subquery is its HAVING.
            if self.features.contains("aggregate") && condition.contains('(') {
                self.feature("having");
            }
        }
        match self.random.below(10) {
            0..=2 => self.aggregate(&from, &condition, &columns, width),
            3 => self.windowed(&from, &condition, &columns, width),
            _ => {
                let distinct = if self.random.chance(12) { "DISTINCT " } else { "" };
                if !distinct.is_empty() {
                    self.feature("distinct");
                }
                let list = self.list(width, &columns, depth > 0);
                format!("SELECT {distinct}{list} FROM {from}{condition}")
            }
        }
    }

    /// Writes a query for the first row of each group; which that is, a unique column says. Calls read
    /// one column, because those that read several are made for every row.
    fn first_of_groups(&mut self, width: usize) -> String {
        self.feature("first rows");
        let (from, columns) = self.table(&TABLES[0]);
        let (id, k) = (&columns[0], &columns[2]);
        let mut condition = String::new();
        if self.random.chance(40) {
            condition = format!(" WHERE {}", self.boolean(1, &columns, false));
        }
        let column = vec![self.random.pick(&columns).clone()];
        let list = self.list(width, &column, false);
        let call = self.integer(1, &column, false);
        let direction = self.random.pick(&["ASC", "DESC"]);
        format!(
            "SELECT DISTINCT ON ({k}) {list}, f({call}) AS c0 FROM {from}{condition} \
             ORDER BY {k}, {id} {direction}"
        )
    }

    fn list(&mut self, width: usize, columns: &Columns, subqueries: bool) -> String {
        let mut items = Vec::new();
        for column in 1..=width {
            let depth = 1 + self.random.below(3);
            items.push(format!("{} AS c{column}", self.integer(depth, columns, subqueries)));
        }
        items.join(", ")
    }

    fn aggregate(
        &mut self,
        from: &str,
        condition: &str,
        columns: &Columns,
        width: usize,
    ) -> String {
        self.feature("aggregate");
        let keys = if width > 1 { self.random.below(width) } else { 0 };
        let sets = self.random.chance(25);
        let (mut items, mut group) = (Vec::new(), Vec::new());
        for key in 1..=keys {
            // Upstream is wrong about constant keys in grouping sets: it makes groups twice.
            let expr = match sets || self.random.chance(60) {
                true => self.random.pick(columns).clone(),
                false => self.integer(1, columns, false),
            };
            let expr = match sets && self.random.chance(50) {
                true => format!("f({expr})"),
                false => expr,
            };
            items.push(format!("{expr} AS c{key}"));
            group.push(expr);
        }
        for column in keys + 1..=width {
            items.push(format!("{} AS c{column}", self.aggregate_call(columns)));
        }
        let mut sql = format!("SELECT {} FROM {from}{condition}", items.join(", "));
        if !group.is_empty() {
            let text = group.join(", ");
            sql += &match (sets, self.random.below(2)) {
                (true, 0) => {
                    self.feature("grouping sets");
                    format!(" GROUP BY ROLLUP ({text})")
                }
                (true, _) => {
                    self.feature("grouping sets");
                    format!(" GROUP BY GROUPING SETS (({text}), ({}))", group[0])
                }
                _ => format!(" GROUP BY {text}"),
            };
            if self.random.chance(35) {
                self.feature("having");
                let call = self.aggregate_call(columns);
                let outputs = vec![call, format!("{}", group[0])];
                sql += &format!(" HAVING {}", self.boolean(1, &outputs, false));
            }
        }
        sql
    }

    fn aggregate_call(&mut self, columns: &Columns) -> String {
        let name = *self.random.pick(&["sum", "count", "min", "max", "sum", "count"]);
        let distinct = match name == "count" && self.random.chance(40) {
            true => "DISTINCT ",
            false => "",
        };
        let argument = self.integer(2, columns, false);
        let mut sql = format!("{name}({distinct}{argument})");
        if self.random.chance(30) {
            self.guarded(columns);
            sql += &format!(" FILTER (WHERE {})", self.boolean(1, columns, false));
        }
        if self.random.chance(10) {
            sql = format!("f({sql})");
        }
        sql
    }

    fn windowed(&mut self, from: &str, condition: &str, columns: &Columns, width: usize) -> String {
        self.feature("window");
        let partition = match self.random.chance(70) {
            true => format!("PARTITION BY {} ", self.integer(1, columns, false)),
            false => String::new(),
        };
        // A sum over all of a partition does not depend on how ties are sorted.
        let argument = self.integer(2, columns, false);
        let window = match self.random.below(3) {
            0 => {
                let key = self.integer(1, columns, false);
                format!("sum({argument}) OVER ({partition}ORDER BY {key})")
            }
            1 => format!("max({argument}) OVER ({partition})"),
            _ => {
                let key = self.integer(1, columns, false);
                format!("CAST(rank() OVER ({partition}ORDER BY {key}) AS BIGINT)")
            }
        };
        let mut items = vec![format!("{window} AS c1")];
        for column in 2..=width {
            items.push(format!("{} AS c{column}", self.integer(2, columns, false)));
        }
        let mut sql = format!("SELECT {} FROM {from}{condition}", items.join(", "));
        if self.random.chance(30) {
            self.feature("qualify");
            let outputs = vec![window, self.random.pick(columns).clone()];
            sql += &format!(" QUALIFY {}", self.boolean(1, &outputs, false));
        }
        sql
    }

    /// Writes a FROM clause; returns it with its columns.
    fn from(&mut self, depth: usize) -> (String, Columns) {
        let (mut sql, mut columns) = self.relation(depth);
        while depth > 0 && columns.len() < 9 && self.random.chance(25) {
            self.feature("join");
            self.join_above();
            // Three of the big table would take the oracle too long.
            let (right, more) = self.small_relation(depth - 1);
            let kind = *self.random.pick(&[
                "JOIN",
                "JOIN",
                "LEFT JOIN",
                "RIGHT JOIN",
                "FULL JOIN",
                "LEFT JOIN",
            ]);
            if kind != "JOIN" {
                self.feature("outer join");
            }
            if kind == "FULL JOIN" {
                self.feature("full join");
            }
            if kind != "JOIN" && self.features.contains("calls in VALUES") {
                self.feature("join above");
            }
            let key = format!("{} = {}", self.random.pick(&columns), self.random.pick(&more));
            columns.extend(more);
            let mut condition = key;
            if self.random.chance(40) {
                let more = self.boolean(1, &columns, false);
                // Upstream makes an inner join of an outer one whose condition is a constant.
                if more.contains('.') {
                    condition += &format!(" AND {more}");
                }
            }
            sql = format!("{sql} {kind} {right} ON {condition}");
        }
        (sql, columns)
    }

    fn relation(&mut self, depth: usize) -> (String, Columns) {
        match self.random.below(100) {
            0..35 if depth > 0 => return self.derived(depth - 1),
            35..42 => return self.values(),
            42..48 => return self.filtered_by_volatile(),
            48..55 => return self.table(&WITH_FIELD),
            _ => {}
        }
        let table = self.random_table();
        self.table(&TABLES[table])
    }

    fn small_relation(&mut self, depth: usize) -> (String, Columns) {
        if depth > 0 && self.random.chance(25) {
            let width = 1 + self.random.below(2);
            let (from, columns) = self.table(&TABLES[1]);
            let list = self.list(width, &columns, false);
            let alias = self.alias();
            let columns = (1..=width).map(|column| format!("{alias}.c{column}")).collect();
            return (format!("(SELECT {list} FROM {from}) {alias}"), columns);
        }
        let table = 1 + self.random.below(2);
        self.table(&TABLES[table])
    }

    fn derived(&mut self, depth: usize) -> (String, Columns) {
        let width = 1 + self.random.below(3);
        let mut sql = self.body(depth, width);
        if self.random.chance(15) {
            sql = self.ordered(sql, width);
        }
        let alias = self.alias();
        let columns = (1..=width).map(|column| format!("{alias}.c{column}")).collect();
        (format!("({sql}) {alias}"), columns)
    }

    /// Writes VALUES, in which calls may stand.
    fn values(&mut self) -> (String, Columns) {
        let width = 1 + self.random.below(2);
        let rows: Vec<String> = (0..1 + self.random.below(3)).map(|_| self.row(width)).collect();
        if rows.iter().any(|row| row.contains("f(") || row.contains("g(")) {
            self.feature("calls in VALUES");
        }
        let alias = self.alias();
        let names: Columns = (1..=width).map(|column| format!("c{column}")).collect();
        let sql = format!("(VALUES {}) AS {alias} ({})", rows.join(", "), names.join(", "));
        (sql, names.iter().map(|name| format!("{alias}.{name}")).collect())
    }

    fn row(&mut self, width: usize) -> String {
        let cells = (0..width).map(|_| {
            let number = self.random.below(9);
            match self.random.below(5) {
                0 | 1 => format!("f({number})"),
                2 => format!("g(m({number}))"),
                _ => number.to_string(),
            }
        });
        format!("({})", cells.collect::<Vec<_>>().join(", "))
    }

    /// Writes a table beside whose calls stands a volatile column (which is always 0), filtered by it.
    fn filtered_by_volatile(&mut self) -> (String, Columns) {
        let table = self.random_table();
        let (from, columns) = self.table(&TABLES[table]);
        let (call, plain) = (self.integer(1, &columns, false), self.random.pick(&columns).clone());
        let list = format!("f({call}) AS c1, CAST(floor(random()) AS BIGINT) AS c2, {plain} AS c3");
        let (inner, outer) = (self.alias(), self.alias());
        let read: Columns = (1..=3).map(|column| format!("{inner}.c{column}")).collect();
        let condition = self.boolean(1, &read, false);
        let below = 1 + self.random.below(3);
        let sql = format!(
            "(SELECT * FROM (SELECT {list} FROM {from}) {inner} \
             WHERE {inner}.c2 < {below} AND {condition}) {outer}"
        );
        (sql, (1..=3).map(|column| format!("{outer}.c{column}")).collect())
    }

    fn random_table(&mut self) -> usize {
        [0, 0, 0, 1, 2][self.random.below(5)]
    }

    fn table(&mut self, table: &(&str, &[&str])) -> (String, Columns) {
        let alias = self.alias();
        let columns = table.1.iter().map(|column| format!("{alias}.{column}")).collect();
        (format!("{} {alias}", table.0), columns)
    }

    fn alias(&mut self) -> String {
        self.aliases += 1;
        format!("a{}", self.aliases)
    }

    /// Writes an integer expression.
    fn integer(&mut self, depth: usize, columns: &Columns, subqueries: bool) -> String {
        if depth == 0 || self.random.chance(15) {
            return match self.random.chance(80) {
                true => self.random.pick(columns).clone(),
                false => self.random.below(8).to_string(),
            };
        }
        let below = depth - 1;
        let roll = self.random.below(20);
        if matches!(roll, 10..=14) {
            self.guarded(columns);
        }
        match roll {
            0..=6 => {
                let names: &[&str] = match self.volatile {
                    true => &["f", "g", "h", "m", "fv"],
                    false => &["f", "g", "h", "m"],
                };
                let name = *self.random.pick(names);
                if name == "fv" {
                    self.feature("volatile");
                }
                format!("{name}({})", self.integer(below, columns, subqueries))
            }
            7 => {
                let first = self.integer(below, columns, false);
                let second = self.integer(below, columns, false);
                format!("f2({first}, {second})")
            }
            8 | 9 => {
                let op = *self.random.pick(&["+", "-"]);
                let left = self.integer(below, columns, subqueries);
                format!("({left} {op} {})", self.integer(below, columns, subqueries))
            }
            10 | 11 => {
                let when = self.boolean(below, columns, subqueries);
                let then = self.integer(below, columns, subqueries);
                let otherwise = match self.random.chance(60) {
                    true => format!(" ELSE {}", self.integer(below, columns, subqueries)),
                    false => String::new(),
                };
                format!("CASE WHEN {when} THEN {then}{otherwise} END")
            }
            12 => {
                let base = self.integer(below, columns, false);
                let (first, second) =
                    (self.integer(below, columns, false), self.integer(below, columns, false));
                format!("CASE {base} WHEN 1 THEN {first} WHEN 2 THEN {second} END")
            }
            13 | 14 => {
                let name = *self.random.pick(&["coalesce", "nvl"]);
                let first = self.integer(below, columns, subqueries);
                format!("{name}({first}, {})", self.integer(below, columns, subqueries))
            }
            15 => {
                let first = self.integer(below, columns, false);
                format!("nullif({first}, {})", self.integer(below, columns, false))
            }
            16 => format!("abs({})", self.integer(below, columns, subqueries)),
            17 => {
                let field = *self.random.pick(&["foo", "bar"]);
                format!("pair({})['{field}']", self.integer(below, columns, false))
            }
            18 if subqueries => self.scalar_subquery(columns),
            _ => self.random.pick(columns).clone(),
        }
    }

    /// Notes that columns of subqueries are read under a guard.
    fn guarded(&mut self, columns: &Columns) {
        if columns.iter().any(|column| column.contains(".c")) {
            self.feature("guarded read");
        }
    }

    fn scalar_subquery(&mut self, columns: &Columns) -> String {
        self.feature("join");
        self.feature("scalar subquery");
        let volatile = std::mem::replace(&mut self.volatile, false);
        let (from, inner) = self.table(&TABLES[1]);
        let aggregate = self.aggregate_call(&inner);
        let sql = match self.random.chance(50) {
            true => {
                let key = format!("{} = {}", inner[1], self.random.pick(columns));
                format!("(SELECT {aggregate} FROM {from} WHERE {key})")
            }
            false => {
                let condition = self.boolean(1, &inner, false);
                format!("(SELECT {aggregate} FROM {from} WHERE {condition})")
            }
        };
        self.volatile = volatile;
        sql
    }

    /// Writes a condition.
    fn boolean(&mut self, depth: usize, columns: &Columns, subqueries: bool) -> String {
        let below = depth.saturating_sub(1);
        let roll = self.random.below(if depth == 0 { 6 } else { 21 });
        if matches!(roll, 6..=10 | 12..=14) {
            self.guarded(columns);
        }
        match roll {
            0..=2 => {
                let op = *self.random.pick(&["=", "<>", "<", ">", "<=", ">="]);
                let left = self.integer(below, columns, false);
                format!("{left} {op} {}", self.random.below(9))
            }
            3 | 4 => {
                let name = *self.random.pick(&["p", "q", "pn"]);
                format!("{name}({})", self.integer(below, columns, false))
            }
            5 => format!("{} IS NOT NULL", self.random.pick(columns)),
            6..=9 => {
                let op = *self.random.pick(&["AND", "OR", "AND"]);
                let left = self.boolean(below, columns, subqueries);
                format!("({left} {op} {})", self.boolean(below, columns, subqueries))
            }
            10 => format!("NOT ({})", self.boolean(below, columns, subqueries)),
            11 => {
                let first = self.integer(below, columns, false);
                let second = self.integer(below, columns, false);
                format!("p2({first}, {second})")
            }
            12 => {
                let value = self.integer(below, columns, false);
                let not = *self.random.pick(&["", "NOT "]);
                // The oracle asks for the upper bound although a filter need not, if the value is NULL:
                // only for volatile functions one call less is taken for a fault.
                let volatile = std::mem::replace(&mut self.volatile, false);
                let upper = self.integer(below, columns, false);
                self.volatile = volatile;
                format!("{value} {not}BETWEEN 2 AND {upper}")
            }
            13 => {
                let value = self.integer(below, columns, false);
                let item = self.integer(below, columns, false);
                // Upstream is wrong about lists with a NULL that is no constant.
                format!("{value} IN (3, coalesce({item}, 0), 5)")
            }
            14 => {
                let test =
                    *self.random.pick(&["IS TRUE", "IS NOT TRUE", "IS NOT FALSE", "IS NULL"]);
                format!("({}) {test}", self.boolean(below, columns, false))
            }
            15 | 16 if subqueries => self.subquery_condition(columns),
            17 => {
                let field = *self.random.pick(&["foo", "bar"]);
                let argument = self.integer(below, columns, false);
                format!("pair({argument})['{field}'] < {}", self.random.below(9))
            }
            18 | 19 => {
                // The second call is not needed, which only shows when the first has an answer.
                let first = self.boolean(0, columns, false);
                format!("({first} AND ({first} OR q({})))", self.integer(below, columns, false))
            }
            _ => {
                let left = self.integer(below, columns, false);
                format!("{left} >= {}", self.integer(below, columns, false))
            }
        }
    }

    fn subquery_condition(&mut self, columns: &Columns) -> String {
        self.semi_join();
        let volatile = std::mem::replace(&mut self.volatile, false);
        let (from, inner) = self.table(&TABLES[1]);
        let sql = match self.random.below(3) {
            0 => {
                let value = self.integer(1, columns, false);
                let item = self.integer(1, &inner, false);
                let condition = self.boolean(1, &inner, false);
                format!("{value} IN (SELECT {item} FROM {from} WHERE {condition})")
            }
            kind => {
                let not = if kind == 1 { "" } else { "NOT " };
                let key = format!("{} = {}", inner[1], self.random.pick(columns));
                let both: Columns = columns.iter().chain(&inner).cloned().collect();
                let condition = match self.random.chance(50) {
                    true => format!(" AND {}", self.boolean(1, &both, false)),
                    false => String::new(),
                };
                format!("{not}EXISTS (SELECT 1 FROM {from} WHERE {key}{condition})")
            }
        };
        self.volatile = volatile;
        sql
    }
}
