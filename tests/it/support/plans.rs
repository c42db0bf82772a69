//! Plans as EXPLAIN shows them, with the numbers that `farcall::plans` leaves out.

use farcall::FarcallSession;

/// Returns the optimized logical plan and the physical plan of a query.
pub async fn plan_text(session: &FarcallSession, sql: &str) -> String {
    let frame = session.sql(&format!("EXPLAIN {sql}")).await.unwrap();
    let batches = frame.collect().await.unwrap();
    let mut text = String::new();
    for batch in &batches {
        let plans = batch.column(1);
        for row in 0..batch.num_rows() {
            text += &arrow::util::display::array_value_to_string(plans, row).unwrap();
            text += "\n";
        }
    }
    text.trim_end().to_owned()
}
