//! The program `farcall` as a process: streams, exit codes, signals.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};

/// A query that ends only when it is ended.
const ENDLESS: &str = "SELECT value FROM generate_series(1, 1000000000000)";

#[test]
fn results_go_to_stdout_and_nothing_else_does() {
    let output = farcall(&["-c", "SELECT 1 AS a; CREATE VIEW v AS SELECT 2 AS b; SELECT b FROM v"]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        text(&output.stdout),
        "+---+\n| a |\n+---+\n| 1 |\n+---+\n+---+\n| b |\n+---+\n| 2 |\n+---+\n"
    );
    assert!(text(&output.stderr).contains("ok\n"));
}

#[test]
fn quiet_says_nothing_but_the_result() {
    let output = farcall(&["-q", "-c", "CREATE VIEW v AS SELECT 2 AS b; SELECT b FROM v"]);
    assert_eq!((code(&output), text(&output.stderr).as_str()), (0, ""));
}

#[test]
fn an_error_goes_to_stderr_with_exit_code_1_and_ends_the_run() {
    let output = farcall(&["--format", "csv", "-c", "SELECT nothing", "-c", "SELECT 1"]);
    assert_eq!((code(&output), text(&output.stdout).as_str()), (1, ""));
    assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
}

#[test]
fn a_script_reads_the_files_that_lie_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x.csv"), "a\n1\n2\n").unwrap();
    let script = dir.path().join("x.sql");
    std::fs::write(&script, "SELECT sum(a) AS s\nFROM 'x.csv';").unwrap();
    let script = script.to_str().unwrap();
    for arguments in [vec![script], vec!["-f", script]] {
        let output = farcall(&[&arguments[..], &["--format", "csv"]].concat());
        assert_eq!(text(&output.stdout), "s\n3\n", "{}", text(&output.stderr));
    }
}

#[test]
fn an_error_in_a_script_names_its_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("bad.sql");
    std::fs::write(&script, "SELECT 1;\n\n-- no such file\nSELECT * FROM 'none.parquet';").unwrap();
    let output = farcall(&["-q", script.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    let message = text(&output.stderr);
    assert!(message.contains("bad.sql:4: ") && message.contains("file 'none.parquet' not found"));
}

#[test]
fn a_missing_script_is_an_error_that_names_it() {
    let output = farcall(&["nowhere.sql"]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("cannot read nowhere.sql"));
}

#[test]
fn standard_input_is_a_script_when_it_is_no_terminal() {
    let mut child = spawn(&["--format", "ndjson"]);
    child.stdin.take().unwrap().write_all(b"SELECT 1 AS a;\nSELECT 'x' AS b").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "{\"a\":1}\n{\"b\":\"x\"}\n", "{}", text(&output.stderr));
}

#[test]
fn a_closed_pipe_ends_the_run_without_a_word() {
    let mut child = spawn(&["--format", "csv", "-c", ENDLESS]);
    let mut head = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut head).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    let ended = (code(&output), head.as_str(), text(&output.stderr));
    assert_eq!(ended, (0, "value\n", String::new()));
}

#[test]
#[cfg(unix)]
fn ctrl_c_cancels_the_query_with_exit_code_130() {
    let mut child = spawn(&["--format", "csv", "-c", ENDLESS]);
    let mut stdout = child.stdout.take().unwrap();
    // The first rows are there: so the query runs, and somebody listens to the signal.
    stdout.read_exact(&mut [0; 16]).unwrap();
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), text(&output.stderr).as_str()), (130, "cancelled\n"));
}

#[test]
fn a_failing_test_file_gives_exit_code_1() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.sql"), "SELECT 1 AS a").unwrap();
    let path = dir.path().to_str().unwrap();
    let output = farcall(&["test", path]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stdout).ends_with("0 passed, 1 failed\n"));
    assert_eq!(code(&farcall(&["test", path, "--accept"])), 0);
    assert_eq!(code(&farcall(&["test", path])), 0);
}

#[test]
fn wrong_usage_gives_exit_code_2() {
    assert_eq!(code(&farcall(&["--format", "xml"])), 2);
}

fn farcall(arguments: &[&str]) -> Output {
    spawn(arguments).wait_with_output().unwrap()
}

fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_farcall"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
