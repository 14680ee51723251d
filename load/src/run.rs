//! A run: connect, register users, send what is due, wait for the answers, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};

use crate::admin::Admin;
use crate::drive::{Driven, drive};
use crate::http::{Link, Server};
use crate::interrupt::Interrupt;
use crate::levels;
use crate::plan::Plan;
use crate::progress::registrations;
use crate::report::{Document, Kafka, Latency, LevelsReport, LoginCounts, Measured, SCHEMA, Tool};

/// How often an interruption is noticed before the run.
const TICK: Duration = Duration::from_millis(100);
/// The longest time of the first connection, and of the first token.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// Makes the run and its report.
pub async fn run(plan: &Plan<'_>, interrupt: &Interrupt) -> anyhow::Result<Document> {
    let server = plan.endpoint.resolve(&plan.trust).await?;
    let report = &plan.planned.common.report;
    let mut admin = match &report.admin {
        Some(endpoint) => Some(Admin::new(endpoint, &plan.trust).await?),
        None => None,
    };
    tokio::select! {
        ready = prepare(plan, &server) => ready?,
        () = interrupted(interrupt) => bail!("interrupted before the run"),
    }
    let before = match &mut admin {
        Some(admin) => Some(admin.state().await?),
        None => None,
    };
    let started_at = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let driven = drive(plan, &server, interrupt).await?;
    let kafka = match (&mut admin, before) {
        (Some(admin), Some(before)) => {
            let after = admin.state().await?;
            let drained = match report.await_drained {
                Some(within) => admin.await_drained(within).await?,
                None => None,
            };
            Some(before.until(&after, drained))
        }
        _ => None,
    };
    Ok(document(plan, driven, kafka, started_at))
}

/// Connects once, so that a wrong address is no run full of errors; obtains the first token; registers the users.
async fn prepare(plan: &Plan<'_>, server: &Arc<Server>) -> anyhow::Result<()> {
    let mut link = Link::new(Arc::clone(server));
    let url = plan.endpoint.at("");
    let connected = tokio::time::timeout(CONNECTED_WITHIN, link.connect()).await;
    let connected = connected.with_context(|| format!("cannot connect to {url} within 10 s"))?;
    connected.map_err(|failure| anyhow::anyhow!("cannot connect to {url}: {}", failure.detail()))?;
    if let Some(session) = &plan.operations.session {
        let first = tokio::time::timeout(CONNECTED_WITHIN, session.bearer(&mut link)).await;
        let first = first.context("no token within 10 s")?;
        first.map_err(|failure| anyhow::anyhow!("no token: {}", failure.detail()))?;
    }
    if let Some(population) = &plan.operations.population {
        let bar = registrations(population.size());
        let moved = bar.clone();
        population.register(server, &plan.operations.headers, move || moved.inc(1)).await?;
        bar.finish_and_clear();
    }
    Ok(())
}

async fn interrupted(interrupt: &Interrupt) {
    while !interrupt.came() {
        tokio::time::sleep(TICK).await;
    }
}

fn document(plan: &Plan<'_>, driven: Driven, kafka: Option<Kafka>, started_at: String) -> Document {
    let profile = &plan.planned.profile;
    let measured = Measured::of(&driven.recorder, profile, &plan.operations.names(), driven.ended);
    let levels = plan.levels.as_ref().map(|levels| {
        let checks = levels::judge(levels, &measured);
        LevelsReport { met: checks.iter().all(|check| check.met), checks }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let logins = &plan.logins;
    Document {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        started_at,
        interrupted: driven.interrupted,
        settings: plan.settings.clone(),
        total: measured.total,
        phases: measured.phases,
        operations: measured.operations,
        interval_seconds: measured.interval.as_secs_f64(),
        timeline: measured.timeline,
        warm_up: measured.warm_up,
        logins: LoginCounts {
            first: count(&logins.first),
            before_expiry: count(&logins.before_expiry),
            after_401: count(&logins.after_401),
        },
        kafka,
        tool: Tool {
            cpu_seconds: driven.cpu.as_secs_f64(),
            cpu_micros_per_request: driven.cpu.as_secs_f64() * 1e6 / driven.requests.max(1) as f64,
            lateness_ms: Latency::of(&driven.lateness),
        },
        levels,
    }
}
