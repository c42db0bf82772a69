//! Shapes that are not right yet, each with its reason; a test fails when one of them works.

use super::Known;

const OUTER: &str = "a condition on the side that may be missing does not wait for the outer join";
const SEMI: &str = "a call waits for no semi or anti join, nor is kept from rows without a partner";
const DECORRELATED: &str = "a decorrelated aggregate is computed for groups that nobody asks for";
const TOP_K: &str =
    "a call runs below the merge of the partitions' first rows, or below a sort by a call";
const FIRST_ROW: &str = "the call is an argument of first_value, which drops all but one";
const HAVING: &str = "the aggregates of a group are computed together, before HAVING";
const MARK: &str = "the call of a mark join does not wait for the condition beside EXISTS";
const UNNEST: &str = "a row whose list is empty vanishes only after its call";

/// The shapes that differ from what the oracles say.
pub const KNOWN: &[(&str, Known)] = &[
    // Needed: f 18.
    ("SELECT k, sum(f(x)) FROM t GROUP BY k HAVING min(id) > 2", Known::Calls("f 23", HAVING)),
    // Needed: f 6.
    ("SELECT DISTINCT ON (k) k, f(x) FROM t ORDER BY k, id", Known::Calls("f 23", FIRST_ROW)),
    ("SELECT id, f(id) FROM t WHERE p(x) ORDER BY id LIMIT 5", Known::CallsAtFour(TOP_K)),
    (
        "SELECT k, f(k) FROM (SELECT k, count(*) AS c FROM t GROUP BY k) q ORDER BY k LIMIT 2",
        Known::CallsAtFour(TOP_K),
    ),
    // Needed: q 16.
    ("SELECT t.id, b.y FROM t LEFT JOIN b ON t.k = b.k AND q(b.y)", Known::Calls("q 20", OUTER)),
    // Needed: f 16.
    (
        "SELECT id, (SELECT sum(f(b.y)) FROM b WHERE b.k = t.k) FROM t",
        Known::Calls("f 20", DECORRELATED),
    ),
    // Needed: q 11 or q 16.
    ("SELECT id FROM t WHERE k IN (SELECT k FROM b WHERE q(y))", Known::Calls("q 20", SEMI)),
    // Needed: q 11 or q 16.
    ("SELECT id FROM t WHERE k NOT IN (SELECT k FROM b WHERE q(y))", Known::Calls("q 20", SEMI)),
    // Needed: q 11 or q 16.
    (
        "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND q(b.y))",
        Known::Calls("q 20", SEMI),
    ),
    (
        "SELECT id FROM t WHERE k = 1 OR EXISTS (SELECT 1 FROM b WHERE b.k = t.k AND p2(t.x, b.y))",
        Known::Calls("p2 145", MARK),
    ),
    // Needed: q 9 or q 13.
    (
        "SELECT id FROM t WHERE k = 1 OR k IN (SELECT k FROM b WHERE q(y))",
        Known::Calls("q 20", SEMI),
    ),
    (
        "SELECT t.id, q.v FROM t, LATERAL (SELECT f(count(*)) AS v FROM b WHERE b.k = t.k) q",
        Known::Refused("cannot be called in the SELECT list of LATERAL, around an aggregate"),
    ),
    // Needed: f 16.
    (
        "SELECT t.id, q.v FROM t, LATERAL (SELECT sum(f(b.y)) AS v FROM b WHERE b.k = t.k) q",
        Known::Calls("f 20", DECORRELATED),
    ),
    // Needed: f 19.
    ("SELECT f(x), unnest(l) FROM t", Known::Calls("f 23", UNNEST)),
];
