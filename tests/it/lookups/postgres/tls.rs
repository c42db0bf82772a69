//! Connections that are encrypted, to a server whose certificate nobody signed but itself.

use super::{COLUMNS, JOIN, USERS, expected};
use crate::support::postgres::{Database, create, session};
use crate::support::remote::rows;
use crate::support::root::root;
use crate::support::store::Store;

#[tokio::test]
async fn certificates_are_checked_as_sslmode_says() {
    let store = Store::start_tls();
    let database = Database::of(&store).await;
    database.run(USERS).await;
    let session = session(1, 100);
    let trusted = format!("'sslrootcert' '{}/server.crt'", store.folder);
    let other = format!("'sslrootcert' '{}/tests/data/other.crt'", root().display());
    for (host, sslmode, root, told) in [
        ("127.0.0.1", "disable", "", None),
        ("127.0.0.1", "prefer", "", None),
        ("127.0.0.1", "require", "", None),
        ("127.0.0.1", "require", &trusted, None),
        ("127.0.0.1", "verify-ca", &trusted, None),
        ("127.0.0.1", "verify-full", &trusted, None),
        ("localhost", "verify-ca", &trusted, None),
        ("localhost", "verify-full", &trusted, Some("certificate not valid for name")),
        ("127.0.0.1", "require", &other, Some("invalid peer certificate")),
        ("127.0.0.1", "verify-full", &other, Some("invalid peer certificate")),
        ("127.0.0.1", "verify-full", "", Some("invalid peer certificate")),
        ("127.0.0.1", "verify-ca", "", Some("sslmode verify-ca needs sslrootcert")),
        (
            "127.0.0.1",
            "verify-full",
            "'sslrootcert' '/no/such/file'",
            Some("sslrootcert: cannot read /no/such/file"),
        ),
    ] {
        let comma = if root.is_empty() { "" } else { ", " };
        let more = format!("'sslmode' '{sslmode}', 'application_name' '{sslmode}'{comma}{root}");
        let options = database.options("users", &more).replace("127.0.0.1", host);
        session.sql("DROP TABLE IF EXISTS users").await.unwrap();
        create(&session, "users", COLUMNS, &options).await.unwrap();
        let got = rows(&session, JOIN).await;
        let Some(told) = told else {
            assert_eq!(got.unwrap(), expected(), "{host} {more}");
            let sql = format!(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE ssl AND application_name = '{sslmode}'"
            );
            assert_eq!(database.number(&sql).await > 0, sslmode != "disable", "{host} {more}");
            continue;
        };
        let message = got.unwrap_err();
        assert!(message.contains("users is not set up correctly"), "{host} {more}: {message}");
        assert!(message.contains(told), "{host} {more}: {message}");
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_it_is_required() {
    let database = Database::new().await;
    let session = session(1, 1);
    database.create(&session, "users", COLUMNS, "'sslmode' 'require'").await;
    let message = rows(&session, JOIN).await.unwrap_err();
    assert!(message.contains("users is not set up correctly"), "{message}");
    assert!(message.contains("server does not support TLS"), "{message}");
}
