//! Banner of embedded mode, for a user who started the daemon without a configuration.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use crate::http::is_loopback;

/// The addresses and paths of the running daemon. Displayed as the banner.
pub(super) struct Banner<'a> {
    pub(super) http: SocketAddr,
    /// Whether commands are accepted over TLS.
    pub(super) tls: bool,
    pub(super) admin: SocketAddr,
    pub(super) bootstrap: &'a str,
    pub(super) dir: &'a Path,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { http, tls, admin, bootstrap, dir } = self;
        let scheme = if *tls { "https" } else { "http" };
        let dir = dir.display();
        let on_loopback = [http, admin].iter().all(|address| is_loopback(address.ip()));
        let reach = if on_loopback { "loopback only" } else { "reachable from other machines" };
        write!(
            f,
            r#"
forebay runs in embedded mode: one process, {reach}.

  commands   {scheme}://{http}
  admin      http://{admin}
  Kafka      {bootstrap}
  log        {dir}

The topics exist only in this process and are lost when it stops. At every start, all commands that the log still
retains are delivered to them again.

Try it, with the default kinds:
  curl -i -d '{{"id":"o-1","amount":12}}' {scheme}://{http}/v1/commands/order.create
  curl {scheme}://{http}/v1/commands/ID              (from the Location header)
  kcat -b {bootstrap} -C -t orders.v1 -e -f '%k %s %h\n'
  wal-tools --dir {dir} status
  curl -i -H 'Prefer: wait=5' {scheme}://{http}/v1/users -d \
    '{{"name":"ada","email":"ada@example.org","phone":"+49 170 1234567","password":"correct horse"}}'
  curl {scheme}://{http}/v1/users/ada

To stop: Ctrl-C. To use an existing Kafka cluster, set [kafka] brokers in a file, and run forebay serve --config FILE
"#
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banner_names_every_address_and_warns_that_topics_are_lost() {
        let banner = Banner {
            http: ([127, 0, 0, 1], 8088).into(),
            tls: false,
            admin: ([127, 0, 0, 1], 9088).into(),
            bootstrap: "127.0.0.1:40999",
            dir: Path::new("forebay-data/wal"),
        };
        let text = banner.to_string();
        for part in [
            "one process, loopback only",
            "http://127.0.0.1:8088\n",
            "http://127.0.0.1:9088\n",
            "are lost when it stops",
            "curl -i -d '{\"id\":\"o-1\",\"amount\":12}' http://127.0.0.1:8088/v1/commands/order.create\n",
            "kcat -b 127.0.0.1:40999 -C -t orders.v1 -e",
            "wal-tools --dir forebay-data/wal status",
            "http://127.0.0.1:8088/v1/users -d \\\n    '{\"name\":\"ada\"",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        let exposed = Banner { admin: ([0, 0, 0, 0], 9088).into(), ..banner }.to_string();
        assert!(exposed.contains("one process, reachable from other machines."), "{exposed}");
        let text = Banner { tls: true, ..banner }.to_string();
        assert!(text.contains("https://127.0.0.1:8088/v1/users/ada\n"), "{text}");
    }
}
