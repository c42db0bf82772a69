//! The real stores that other tests stand on.

use std::net::TcpStream;

use crate::support::store::Store;

fn answers(store: &Store) -> bool {
    TcpStream::connect(("127.0.0.1", store.port)).is_ok()
}

#[test]
fn a_killed_store_starts_again_on_its_port() {
    for kind in ["postgres", "redis"] {
        let mut store = Store::start(kind);
        assert!(answers(&store), "{kind} after its start");
        store.kill();
        assert!(!answers(&store), "{kind} after its end");
        store.restart();
        assert!(answers(&store), "{kind} after its second start");
    }
}
