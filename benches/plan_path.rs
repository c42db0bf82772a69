//! The planning of plain queries, for `scripts/instructions`, which counts the instructions that it takes.
//!
//! `plan_path SCENARIO ROUNDS` plans every plain query that often, from SQL down to operators: with DataFusion alone, with
//! farcall's rules beside it, and with farcall's SQL in front as well. Called with anything else it runs every scenario
//! once and prints the scenarios' names.

#![allow(clippy::expect_used)]

#[path = "support/plain.rs"]
mod plain;

use std::hint::black_box;

use datafusion::prelude::{DataFrame, SessionContext};
use farcall::FarcallSession;

#[derive(Clone, Copy)]
enum Scenario {
    DataFusion,
    Rules,
    Sql,
}

const SCENARIOS: [(&str, Scenario); 3] = [
    ("plan_datafusion", Scenario::DataFusion),
    ("plan_rules", Scenario::Rules),
    ("plan_sql", Scenario::Sql),
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let chosen = match args.as_slice() {
        [name, rounds] => SCENARIOS.iter().find(|(n, _)| n == name).zip(rounds.parse().ok()),
        _ => None,
    };
    match chosen {
        Some(((_, scenario), rounds)) => run(*scenario, rounds),
        None => SCENARIOS.iter().for_each(|(name, scenario)| {
            run(*scenario, 1);
            println!("{name}");
        }),
    }
}

fn run(scenario: Scenario, rounds: usize) {
    // One thread: the same work in the same order each time.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let session =
            FarcallSession::builder().with_config(plain::config()).build().expect("a session");
        let context = match scenario {
            Scenario::DataFusion => &SessionContext::new_with_config(plain::config()),
            Scenario::Rules | Scenario::Sql => session.context(),
        };
        plain::fill(context).await;
        for _ in 0..rounds {
            for (_, sql) in plain::QUERIES {
                let frame = match scenario {
                    Scenario::Sql => session.sql(sql).await,
                    Scenario::DataFusion | Scenario::Rules => context.sql(sql).await,
                };
                black_box(plan(frame.expect("a plan")).await);
            }
        }
    });
}

async fn plan(frame: DataFrame) -> std::sync::Arc<dyn datafusion::physical_plan::ExecutionPlan> {
    frame.create_physical_plan().await.expect("a physical plan")
}
