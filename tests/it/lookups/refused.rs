//! What cannot be looked up, and how that is said.

use crate::support::lookups::Stores;

macro_rules! refused {
    ($($name:ident: $sql:literal => $message:literal;)+) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(Stores::new(1).refusal($sql).await, $message);
        }
    )+};
}

refused! {
    a_lookup_table_alone: "SELECT * FROM users" => "lookup table users cannot be scanned; join the table itself, by an equality on its key (id)";
    a_join_without_its_key: "SELECT t.id FROM t JOIN users u ON t.a = u.z" => "lookup table users is only looked up by its key (id); the join has no equality on id that could be looked up";
    a_join_on_a_part_of_its_key: "SELECT t.id FROM t JOIN cells c ON t.a = c.b" => "lookup table cells is only looked up by its key (a, b); the join has no equality on a that could be looked up";
    a_comparison_with_its_key: "SELECT t.id FROM t LEFT JOIN users u ON t.k > u.id" => "lookup table users is only looked up by its key (id); the join has no equality on id that could be looked up";
    a_key_of_another_kind: "SELECT t.id FROM t JOIN users u ON t.k + 0.5 = u.id" => "lookup table users is only looked up by its key (id); the join compares id (Int64) as Float64; compare it with a value of type Int64";
    a_number_against_a_text: "SELECT t.id FROM t JOIN names n ON t.k = n.code" => "lookup table names is only looked up by its key (code); the join compares code (Utf8) as Int64; write CAST(t.k AS VARCHAR) = n.code";
    a_text_against_a_number_with_the_table_on_the_left: "SELECT t.id FROM names n RIGHT JOIN t ON n.code = t.a" => "lookup table names is only looked up by its key (code); the join compares code (Utf8) as Int64; write CAST(t.a AS VARCHAR) = n.code";
    a_cross_join: "SELECT t.id FROM t CROSS JOIN users u" => "lookup table users is only looked up by its key (id); the join has no equality on id that could be looked up";
    a_full_join: "SELECT t.id FROM t FULL JOIN users u ON t.k = u.id" => "a FULL JOIN gives all rows of lookup table users, which is only looked up by key; keep the rows of the other side alone, by a LEFT JOIN";
    a_left_join_that_keeps_the_table: "SELECT t.id FROM users u LEFT JOIN t ON t.k = u.id" => "an outer join that keeps all rows of lookup table users cannot be made, it is only looked up by key; keep the rows of the other side";
    not_in: "SELECT id FROM t WHERE k NOT IN (SELECT id FROM users)" => "NOT IN needs all rows of lookup table users, which is only looked up by key; write NOT EXISTS";
    exists_beside_others: "SELECT id FROM t WHERE a = 1 OR EXISTS (SELECT 1 FROM users u WHERE u.id = t.k)" => "EXISTS or IN beside other conditions cannot look up table users; join it by a LEFT JOIN and test a column of its key";
    a_limit_of_fewer_rows_below_a_cross_join: "SELECT t.id FROM t CROSS JOIN (SELECT * FROM users WHERE id = 7 LIMIT 2) u LIMIT 3" => "lookup table users cannot be scanned; join the table itself, by an equality on its key (id)";
    a_limit_below_the_join: "SELECT t.id FROM t JOIN (SELECT * FROM users LIMIT 3) u ON t.k = u.id" => "lookup table users cannot be scanned; join the table itself, by an equality on its key (id)";
}

#[tokio::test]
async fn what_the_message_says_to_write_is_looked_up() {
    for partitions in [1, 4] {
        let stores = Stores::new(partitions);
        stores.check("SELECT t.id, n.n FROM t JOIN names n ON CAST(t.k AS VARCHAR) = n.code").await;
        assert_eq!(stores.requests["names"].take_keys().len(), 40);
    }
}
