//! A Redis behind TLS, with certificates that openssl makes.

use std::path::Path;
use std::process::Command;

use crate::support::redis::Redis;
use crate::support::remote::{rows, session};

const COLUMNS: &str = "id BIGINT, name VARCHAR, PRIMARY KEY (id)";
const JOIN: &str = "SELECT u.id, u.name FROM t JOIN users u ON t.id = u.id";

/// Makes a certificate for the loopback interface that only itself vouches for.
fn certify(folder: &Path, name: &str) {
    let file = |kind: &str| folder.join(format!("{name}.{kind}")).display().to_string();
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-nodes", "-days", "2", "-subj", "/CN=farcall", "-out", &file("crt")])
        .args(["-keyout", &file("key"), "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .output()
        .expect("openssl comes with Debian's package postgresql");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_server_is_reached_by_tls_and_both_sides_are_checked() {
    let redis = Redis::own().await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    certify(folder.path(), "server");
    certify(folder.path(), "other");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (certificate, key) = (file("server.crt"), file("server.key"));
    redis
        .command(&[
            "CONFIG",
            "SET",
            "tls-cert-file",
            &certificate,
            "tls-key-file",
            &key,
            "tls-ca-cert-file",
            &certificate,
            "tls-port",
            &port.to_string(),
        ])
        .await;
    redis.command(&["SET", &redis.key("users", 7), r#"{"name": "ann"}"#]).await;
    let url = format!("'url' 'rediss://127.0.0.1:{port}'");
    let ours = format!("'tls_cert_file' '{certificate}', 'tls_key_file' '{key}'");
    let ask = async |options: &str| {
        let session = session(1);
        redis.create(&session, "users", COLUMNS, options).await;
        rows(&session, JOIN).await
    };
    let trusted = format!("{url}, 'tls_ca_cert_file' '{certificate}'");
    assert_eq!(ask(&format!("{trusted}, {ours}")).await.unwrap(), ["|7|ann|"]);
    redis.run("CONFIG SET tls-auth-clients no").await;
    assert_eq!(ask(&trusted).await.unwrap(), ["|7|ann|"]);

    for (options, says) in [
        (url.clone(), "TLS: invalid peer certificate"),
        (
            format!("{url}, 'tls_ca_cert_file' '{}'", file("other.crt")),
            "TLS: invalid peer certificate",
        ),
        (trusted.replace("127.0.0.1", "localhost"), "TLS: invalid peer certificate"),
        (format!("{url}, 'tls_ca_cert_file' '{}'", file("none.crt")), "none.crt: No such file"),
        (
            format!("'url' '{}', 'tls_ca_cert_file' 'x'", redis.url()),
            "url: options 'tls_..' need a URL rediss://",
        ),
    ] {
        let message = ask(&options).await.unwrap_err();
        let both = message.contains("users is not set up correctly") && message.contains(says);
        assert!(both, "{options}: {message}");
    }
    redis.run("CONFIG SET tls-auth-clients yes").await;
    let message = ask(&trusted).await.unwrap_err();
    assert!(message.contains("users is not set up correctly: 127.0.0.1:"), "{message}");
}
