//! [`exposition`], what a runtime counted, in the text format that Prometheus reads.

use std::fmt::{self, Write};

use farcall_udf::{CallMetrics, FarcallRuntime};

use super::families::{Distribution, FAMILIES, Family, Reading};

/// The format's name in a `Content-Type`.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes what a runtime counted of its functions in Prometheus's text format, version 0.0.4.
///
/// Each series has the label `function`; models are functions. Names begin with `farcall_`, counters
/// end in `_total`, times are in seconds.
pub fn exposition(runtime: &FarcallRuntime) -> String {
    let totals = runtime.totals();
    let mut text = String::new();
    for family in &FAMILIES {
        // Writing into a string does not fail.
        let _ = write_family(&mut text, family, &totals);
    }
    text
}

fn write_family(
    text: &mut String,
    family: &Family,
    totals: &[(String, std::sync::Arc<CallMetrics>)],
) -> fmt::Result {
    let name = name_of(family);
    writeln!(text, "# HELP {name} {}", family.help)?;
    writeln!(text, "# TYPE {name} {}", family.reading.kind())?;
    for (function, metrics) in totals {
        let function = format!("function=\"{}\"", escaped(function));
        if let Some(distribution) = family.reading.distribution(metrics) {
            write_distribution(text, &name, &function, &distribution)?;
        }
        match family.reading {
            Reading::Counter(read) => {
                writeln!(text, "{name}{{{function}}} {}", read(&metrics.snapshot()))?;
            }
            Reading::CounterBy(label, read) => {
                for (value, number) in read(metrics) {
                    writeln!(text, "{name}{{{function},{label}=\"{value}\"}} {number}")?;
                }
            }
            Reading::Gauge(read) => writeln!(text, "{name}{{{function}}} {}", read(metrics))?,
            Reading::Sizes(_) | Reading::Times(_) => {}
        }
    }
    Ok(())
}

fn name_of(family: &Family) -> String {
    match family.reading {
        Reading::Counter(_) | Reading::CounterBy(..) => format!("farcall_{}_total", family.metric),
        Reading::Gauge(_) => format!("farcall_{}", family.metric),
        Reading::Sizes(_) | Reading::Times(_) => {
            format!("farcall_{}_{}", family.metric, family.unit)
        }
    }
}

fn write_distribution(
    text: &mut String,
    name: &str,
    function: &str,
    distribution: &Distribution,
) -> fmt::Result {
    let values = &distribution.values;
    for bound in distribution.bounds() {
        let (le, upto) = (distribution.in_unit(bound), values.count_up_to(bound));
        writeln!(text, "{name}_bucket{{{function},le=\"{le}\"}} {upto}")?;
    }
    writeln!(text, "{name}_bucket{{{function},le=\"+Inf\"}} {}", values.count)?;
    writeln!(text, "{name}_sum{{{function}}} {}", distribution.in_unit(values.sum))?;
    writeln!(text, "{name}_count{{{function}}} {}", values.count)
}

/// Writes the value of a label as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::table::tests::session_after_calls;

    #[tokio::test]
    async fn every_family_is_described_and_counted_by_function() {
        let text = exposition(session_after_calls().await.runtime());
        for line in [
            "# HELP farcall_rows_total Rows that came to calls.",
            "# TYPE farcall_rows_total counter",
            "farcall_rows_total{function=\"half\"} 5",
            "farcall_requests_total{function=\"half\"} 2",
            "farcall_failures_total{function=\"half\",class=\"rejected\"} 1",
            "farcall_failures_total{function=\"half\",class=\"transient\"} 0",
            "# TYPE farcall_requests_in_flight gauge",
            "farcall_requests_in_flight{function=\"half\"} 0",
            "# TYPE farcall_batch_size_rows histogram",
            "farcall_batch_size_rows_bucket{function=\"half\",le=\"1\"} 1",
            "farcall_batch_size_rows_bucket{function=\"half\",le=\"2\"} 1",
            "farcall_batch_size_rows_bucket{function=\"half\",le=\"4\"} 2",
            "farcall_batch_size_rows_bucket{function=\"half\",le=\"+Inf\"} 2",
            "farcall_batch_size_rows_sum{function=\"half\"} 5",
            "farcall_batch_size_rows_count{function=\"half\"} 2",
            "farcall_call_duration_seconds_bucket{function=\"half\",le=\"0.000064\"}",
        ] {
            assert!(text.lines().any(|l| l.starts_with(line)), "{line} is not in\n{text}");
        }
    }

    #[tokio::test]
    async fn every_line_is_of_the_format() {
        let text = exposition(session_after_calls().await.runtime());
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let (name, labels) = series.split_once('{').unwrap();
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.starts_with("farcall_") && name.chars().all(word), "{line}");
            assert!(labels.starts_with("function=\"half\"") && labels.ends_with("\"}"), "{line}");
        }
    }

    #[test]
    fn names_of_functions_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
