use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use super::fixture::{FakeAdmin, FakeLog, Server, config, serve, start};
use crate::command::CommandId;
use crate::http::Admin;
use crate::http::Metrics;
use crate::metrics::Registry;

pub async fn serve_admin() -> Server {
    serve_admin_at("127.0.0.1:0").await
}

pub async fn serve_admin_at(address: &str) -> Server {
    serve_admin_with_timeout(address, Duration::from_secs(60)).await
}

async fn serve_admin_with_timeout(address: &str, lookup_timeout: Duration) -> Server {
    let (backend, registry) = (Arc::new(FakeAdmin::default()), Registry::new().unwrap());
    let metrics = Arc::new(Metrics::register(&registry).unwrap());
    let admin = Admin::new(&config(), Arc::<FakeAdmin>::clone(&backend), metrics.clone(), registry.clone());
    let admin = admin.with_lookup_timeout(lookup_timeout);
    start(address, admin, config().limits(), FakeLog::default(), backend, metrics, registry).await
}

#[tokio::test]
async fn degraded_dependencies_do_not_make_the_daemon_unready() {
    // The public listener hides the cause.
    for (server, kafka) in [(serve().await, "degraded"), (serve_admin().await, "no broker responds")] {
        let mut client = server.connect().await;
        assert_eq!(client.get("/healthz", "").await.status, 200);
        let reply = client.get("/readyz", "").await;
        assert_eq!((reply.status, &reply.json()["ready"]), (200, &true.into()));
        assert_eq!(reply.json()["dependencies"]["kafka"], kafka);
        server.backend.unready.store(true, SeqCst);
        let reply = client.get("/readyz", "").await;
        assert_eq!((reply.status, &reply.json()["reason"]), (503, &"stopping".into()));
        assert!(reply.header("retry-after").is_some());
    }
}

#[tokio::test]
async fn the_type_of_a_problem_leads_to_its_description() {
    for server in [serve().await, serve_admin().await] {
        let mut client = server.connect().await;
        let problem = client.get("/nothing", "").await.assert_problem(404, "not_found");
        let page = client.get(problem["type"].as_str().unwrap(), "").await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/plain; charset=utf-8")));
        assert!(page.body.starts_with("#### not_found\n\nStatus 404, not retryable.\n"), "{}", page.body);
        client.get("/errors/nothing", "").await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn operator_can_show_and_control_the_drain() {
    let server = serve_admin().await;
    let mut client = server.connect().await;
    assert_eq!(client.get("/admin/backlog", "").await.json()["backlog"], 3);
    assert_eq!(client.post("/admin/drain/pause", "", "").await.status, 200);
    assert!(server.backend.paused.load(SeqCst));
    assert_eq!(*server.backend.origin.lock(), "admin listener, 127.0.0.1");
    client.get("/admin/drain/resume", "").await.assert_problem(405, "method_not_allowed");
    assert_eq!(client.post("/admin/drain/resume", "", "").await.status, 200);
    assert!(!server.backend.paused.load(SeqCst));
    let scrape = client.get("/metrics", "").await;
    assert!(scrape.body.contains("\nhttp_in_flight 1\n"), "{}", scrape.body);
    assert!(server.backend.scraped.load(SeqCst), "gauges are computed at scrape");
}

#[tokio::test]
async fn hung_disk_delays_only_figures() {
    let server = serve_admin().await;
    let backend = Arc::clone(&server.backend);
    let (mut operator, mut probe) = (server.connect().await, server.connect().await);
    let (hung, recovers) = (tokio::sync::oneshot::channel(), std::sync::mpsc::channel());
    let disk = std::thread::spawn(move || {
        let _disk = backend.disk.lock();
        hung.0.send(()).unwrap();
        // With a time-out, so that this test fails if the runtime waits for the disk, instead of hanging.
        recovers.1.recv_timeout(std::time::Duration::from_secs(60))
    });
    hung.1.await.unwrap();
    for path in ["/metrics", "/admin/backlog"] {
        operator.send(&format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
    }
    // Operators need the status page most in this situation.
    for path in ["/healthz", "/", "/status/page.json"] {
        assert_eq!(probe.get(path, "").await.status, 200, "{path}");
    }
    assert!(!server.backend.scraped.load(SeqCst));
    recovers.0.send(()).unwrap();
    disk.join().unwrap().unwrap();
}

#[tokio::test]
async fn status_page_loads_nothing_from_other_hosts() {
    let server = serve_admin().await;
    let page = server.connect().await.get("/", "").await;
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(!page.body.contains("http://") && !page.body.contains("https://"), "{}", page.body);
    for attribute in ["src=\"", "href=\"", "action=\""] {
        for place in page.body.split(attribute).skip(1) {
            assert!(place.starts_with('/'), "{place}");
        }
    }
    for (file, media_type) in
        [("page.css", "text/css"), ("page.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
    {
        assert!(page.body.contains(&format!("/status/{file}")), "{file} is not used");
        let file = server.connect().await.get(&format!("/status/{file}"), "").await;
        assert!(file.status == 200 && file.header("content-type").unwrap().starts_with(media_type));
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
    }
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    server.connect().await.get("/status/page.html", "").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn looked_up_command_id_is_trimmed_and_escaped() {
    let server = serve_admin().await;
    let page = server.connect().await.get("/status/page.json?command=%20%3Cb%3Ex%20", "").await;
    let shown = page.json()["sections"]["command"].as_str().unwrap().to_owned();
    assert!(shown.contains("&lt;b&gt;x</code>: no such command"), "{shown}");
    let page = server.connect().await.get("/?command=%3Cb%3E", "").await.body;
    assert!(page.contains("value=\"&lt;b&gt;\"") && page.contains("href=\"/?command=%3Cb%3E\""), "{page}");
}

/// Without a limit, each refresh of a page would block another thread on the disk.
#[tokio::test]
async fn hung_look_up_delays_the_page_for_a_limited_time() {
    let path = format!("/?command={}", CommandId::from_bytes([7; 25]));
    // A look-up that completes has a long time-out.
    assert!(serve_admin().await.connect().await.get(&path, "").await.body.contains("no such command"));
    let server = serve_admin_with_timeout("127.0.0.1:0", Duration::from_millis(100)).await;
    let mut client = server.connect().await;
    server.backend.hangs.store(true, SeqCst);
    // The second look-up waits for the first.
    for _ in 0..2 {
        let page = client.get(&path, "").await;
        assert!(
            page.status == 200 && page.body.contains("log and database did not respond in time"),
            "{}",
            page.body
        );
    }
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = serve().await;
    let mut client = server.connect().await;
    client.send("HEAD /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
    let head = client.read_to_end().await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}
