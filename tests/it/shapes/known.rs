//! Shapes that are not right yet, each with its reason; a test fails when one of them works.

use super::Known;

const JOIN: &str = "a call waits for no join that drops its row";
const SEMI: &str = "a call waits for no semi or anti join, nor is kept from rows without a partner";
const DECORRELATED: &str = "a decorrelated aggregate is computed for groups that nobody asks for";
const TOP_K: &str =
    "a call runs below the merge of the partitions' first rows, or below a sort by a call";
const OFFSET: &str = "a call is made for rows that OFFSET skips";
const FIRST_ROW: &str = "the call is an argument of first_value, which drops all but one";
const LONG_IN: &str = "a list of more than three items is not taken apart";
const GUARDED_READ: &str = "the guard around a subquery's column is not carried down to its call";
const HAVING: &str = "the aggregates of a group are computed together, before HAVING";
const GLOBAL: &str =
    "upstream pushes a condition without columns below an aggregate that always gives a row";
const UNNEST: &str = "a row whose list is empty vanishes only after its call";

/// The shapes that differ from what the oracles say.
pub const KNOWN: &[(&str, Known)] = &[
    // Needed: f 19.
    ("SELECT x IN (1, 2, 3, 4, f(x)) FROM t", Known::Calls("f 23", LONG_IN)),
    // Needed: f 12.
    (
        "SELECT CASE WHEN k < 2 THEN v END FROM (SELECT k, f(x) AS v FROM t) q",
        Known::Calls("f 23", GUARDED_READ),
    ),
    ("SELECT v FROM (SELECT min(k) AS v FROM t) q WHERE g(7) < 7", Known::Rows(GLOBAL)),
    // Needed: f 18.
    ("SELECT k, sum(f(x)) FROM t GROUP BY k HAVING min(id) > 2", Known::Calls("f 23", HAVING)),
    // Needed: f 6.
    ("SELECT DISTINCT ON (k) k, f(x) FROM t ORDER BY k, id", Known::Calls("f 23", FIRST_ROW)),
    // Needed: f 4.
    ("SELECT id, f(x) FROM t ORDER BY id LIMIT 5 OFFSET 3", Known::Calls("f 7", OFFSET)),
    // Needed: f 5, h 60.
    ("SELECT id, f(id) FROM t ORDER BY h(id) LIMIT 5", Known::Calls("f 60, h 60", TOP_K)),
    // Needed: f 3.
    (
        "SELECT id, v FROM (SELECT id, f(id) AS v FROM t) q ORDER BY id DESC NULLS LAST LIMIT 3",
        Known::Calls("f 9", TOP_K),
    ),
    ("SELECT id, f(id) FROM t WHERE p(x) ORDER BY id LIMIT 5", Known::CallsAtFour(TOP_K)),
    (
        "SELECT k, f(k) FROM (SELECT k, count(*) AS c FROM t GROUP BY k) q ORDER BY k LIMIT 2",
        Known::CallsAtFour(TOP_K),
    ),
    // Needed: p 18.
    (
        "SELECT t.id, b.y FROM t JOIN b ON t.k = b.k WHERE b.y < 3 AND p(t.x)",
        Known::Calls("p 23", JOIN),
    ),
    // Needed: p 23, q 16.
    (
        "SELECT t.id, b.y FROM t, b WHERE t.k = b.k AND p(t.x) AND q(b.y)",
        Known::Calls("p 23, q 20", JOIN),
    ),
    // Needed: f 18.
    (
        "SELECT q.id, q.v, b.y FROM (SELECT id, k, f(x) AS v FROM t) q JOIN b ON q.k = b.k WHERE b.y < 3",
        Known::Calls("f 23", JOIN),
    ),
    // Needed: p 18.
    (
        "SELECT q.id, b.y FROM (SELECT id, k FROM t WHERE p(x)) q JOIN b ON q.k = b.k WHERE b.y < 3",
        Known::Calls("p 23", JOIN),
    ),
    // Needed: p 18.
    ("SELECT id, y FROM t JOIN b USING (k) WHERE p(x) AND y < 3", Known::Calls("p 23", JOIN)),
    (
        "SELECT t.id, b.y FROM t LEFT JOIN b ON t.k = b.k AND b.y < 5 AND p(t.x)",
        Known::Refused("cannot be called in the condition of a LEFT JOIN"),
    ),
    // Needed: q 16.
    ("SELECT t.id, b.y FROM t LEFT JOIN b ON t.k = b.k AND q(b.y)", Known::Calls("q 20", JOIN)),
    (
        "SELECT t.id, b.y FROM t LEFT JOIN b ON t.k = b.k AND p2(t.x, b.y)",
        Known::Refused("cannot be called in the condition of a LEFT JOIN"),
    ),
    (
        "SELECT t.id, b.y FROM t LEFT JOIN b ON p2(t.k, b.y)",
        Known::Refused("cannot be called in the condition of a LEFT JOIN"),
    ),
    (
        "SELECT t.id, b.y FROM t RIGHT JOIN b ON t.k = b.k AND p2(t.x, b.y)",
        Known::Refused("cannot be called in the condition of a RIGHT JOIN"),
    ),
    (
        "SELECT t.id, b.y FROM t FULL JOIN b ON t.id = b.y AND p2(t.x, b.z)",
        Known::Refused("cannot be called in the condition of a FULL JOIN"),
    ),
    (
        "SELECT t.id, b.y FROM t FULL JOIN b ON t.id = b.y AND p(t.x)",
        Known::Refused("cannot be called in the condition of a FULL JOIN"),
    ),
    (
        "SELECT t.id, b.y, c.w FROM t LEFT JOIN b ON t.id = b.y LEFT JOIN c ON b.k = c.k AND p2(b.y, c.w)",
        Known::Refused("cannot be called in the condition of a LEFT JOIN"),
    ),
    // Needed: f 16.
    (
        "SELECT id, (SELECT sum(f(b.y)) FROM b WHERE b.k = t.k) FROM t",
        Known::Calls("f 20", DECORRELATED),
    ),
    // Needed: q 11 or q 16.
    ("SELECT id FROM t WHERE k IN (SELECT k FROM b WHERE q(y))", Known::Calls("q 20", SEMI)),
    // Needed: p 18.
    (
        "SELECT id FROM t WHERE p(x) AND k IN (SELECT k FROM b WHERE y < 3)",
        Known::Calls("p 23", SEMI),
    ),
    // Needed: q 11 or q 16.
    ("SELECT id FROM t WHERE k NOT IN (SELECT k FROM b WHERE q(y))", Known::Calls("q 20", SEMI)),
    (
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND b.y < 5 AND p2(t.x, b.y))",
        Known::Refused("cannot be called in the condition of EXISTS or IN"),
    ),
    (
        "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND p2(t.x, b.y))",
        Known::Refused("cannot be called in the condition of NOT EXISTS or NOT IN"),
    ),
    // Needed: q 11 or q 16.
    (
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND q(b.y))",
        Known::Calls("q 20", SEMI),
    ),
    (
        "SELECT id FROM t WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND p(t.x))",
        Known::Refused("cannot be called in the condition of NOT EXISTS or NOT IN"),
    ),
    (
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM b WHERE p2(t.x, b.y))",
        Known::Refused("cannot be called in the condition of EXISTS or IN"),
    ),
    (
        "SELECT id FROM t WHERE k = 1 OR EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND p2(t.x, b.y))",
        Known::Refused("cannot be called in the condition of EXISTS or IN beside other conditions"),
    ),
    // Needed: q 9 or q 13.
    (
        "SELECT id FROM t WHERE k = 1 OR k IN (SELECT k FROM b WHERE q(y))",
        Known::Calls("q 20", SEMI),
    ),
    (
        "SELECT id FROM t WHERE id IN (SELECT y FROM b WHERE EXISTS (SELECT 1 FROM c WHERE c.k = b.k AND p2(b.y, c.w)))",
        Known::Refused("cannot be called in the condition of EXISTS or IN"),
    ),
    (
        "SELECT id, (SELECT f(count(*)) FROM b WHERE b.k = t.k) FROM t",
        Known::Refused("rule 'scalar_subquery_to_join' failed"),
    ),
    // Needed: f 16.
    (
        "SELECT t.id, q.v FROM t, LATERAL (SELECT sum(f(b.y)) AS v FROM b WHERE b.k = t.k) q",
        Known::Calls("f 20", DECORRELATED),
    ),
    ("VALUES (f(1)), (g(2))", Known::Refused("cannot be called in VALUES")),
    (
        "SELECT v + 1 FROM (VALUES (f(1)), (f(1))) AS q (v)",
        Known::Refused("cannot be called in VALUES"),
    ),
    // Needed: f 19.
    ("SELECT f(x), unnest(l) FROM t", Known::Calls("f 23", UNNEST)),
    (
        "CREATE TABLE s (v BIGINT); INSERT INTO s VALUES (f(1)), (g(2)); SELECT * FROM s",
        Known::Refused("cannot be called in VALUES"),
    ),
];
