//! Shapes that are not right yet, each with its reason; a test fails when one of them works.

use super::Known;

const NOT_IN: &str =
    "where a key may be NULL, all pairs are candidates: calls are saved for a nested loop only";
const DECORRELATED: &str = "a decorrelated aggregate is computed for groups that nobody asks for";
const HAVING: &str = "the aggregates of a group are computed together, before HAVING";

const FIRST_ROW: &str =
    "the columns that a call reads are not chosen together before it, only a single one is";

/// The shapes that differ from what the oracles say.
pub const KNOWN: &[(&str, Known)] = &[
    // Needed: f 18.
    ("SELECT k, sum(f(x)) FROM t GROUP BY k HAVING min(id) > 2", Known::Calls("f 23", HAVING)),
    // Needed: f 6.
    ("SELECT DISTINCT ON (k) k, f(x + id) FROM t ORDER BY k, id", Known::Calls("f 55", FIRST_ROW)),
    // Needed: f 16.
    (
        "SELECT id, (SELECT sum(f(b.y)) FROM b WHERE b.k = t.k) FROM t",
        Known::Calls("f 20", DECORRELATED),
    ),
    // Needed: q 11 or q 16.
    ("SELECT id FROM t WHERE k NOT IN (SELECT k FROM b WHERE q(y))", Known::Calls("q 20", NOT_IN)),
    (
        "SELECT t.id, q.v FROM t, LATERAL (SELECT f(count(*)) AS v FROM b WHERE b.k = t.k) q",
        Known::Refused("cannot be called in the SELECT list of LATERAL, around an aggregate"),
    ),
    // Needed: f 16.
    (
        "SELECT t.id, q.v FROM t, LATERAL (SELECT sum(f(b.y)) AS v FROM b WHERE b.k = t.k) q",
        Known::Calls("f 20", DECORRELATED),
    ),
];
