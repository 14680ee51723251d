//! A run: connect, register users, send what is due, wait for the answers, report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use cli_support::Interrupt;

use crate::admin::{Admin, State};
use crate::drive::{Driven, drive};
use crate::http::{Link, Server};
use crate::levels;
use crate::plan::Plan;
use crate::progress::registrations;
use crate::report::{Document, Kafka, Latency, LevelsReport, LoginCounts, Measured, SCHEMA, Tool};

/// How often an interruption is noticed before and after the requests.
const TICK: Duration = Duration::from_millis(100);
/// The longest time of the first connection, and of the first token.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// What a run left.
pub struct Finished {
    /// The report.
    pub document: Document,
    /// Why figures are missing that were asked for.
    pub missing: Option<anyhow::Error>,
}

/// Makes the run and its report.
pub async fn run(plan: &Plan<'_>, interrupt: &Interrupt) -> anyhow::Result<Finished> {
    let server = plan.endpoint.resolve(&plan.trust).await?;
    let mut admin = match &plan.planned.common.report.admin {
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
    let mut driven = drive(plan, &server, interrupt).await?;
    let reached = match (&mut admin, before) {
        (Some(admin), Some(before)) => Some(reached(plan, admin, before, interrupt).await),
        _ => None,
    };
    // An hour of requests is reported also when the admin listener fails afterwards.
    let (kafka, missing) = match reached.transpose() {
        Ok(None) => (None, None),
        Ok(Some((kafka, ended_early))) => {
            driven.interrupted |= ended_early;
            (Some(kafka), None)
        }
        Err(error) => (None, Some(error)),
    };
    Ok(Finished { document: document(plan, driven, kafka, started_at), missing })
}

/// What reached Kafka, and whether an interruption ended the wait for the rest.
async fn reached(
    plan: &Plan<'_>,
    admin: &mut Admin,
    before: State,
    interrupt: &Interrupt,
) -> anyhow::Result<(Kafka, bool)> {
    let after = admin.state().await?;
    let Some(within) = plan.planned.common.report.await_drained else {
        return Ok((before.until(&after, None), false));
    };
    let (drained, ended_early) = tokio::select! {
        drained = admin.await_drained(within) => (drained?, false),
        () = interrupted(interrupt) => (None, true),
    };
    Ok((before.until(&after, drained), ended_early))
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
