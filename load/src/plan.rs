//! From options to a plan: reads the files, and finds every error before the first request.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, bail};
use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use crate::cli::{ScenarioPlan, TargetOptions};
use crate::clock::RunClock;
use crate::http::{Endpoint, TrustedCas};
use crate::levels::{self, Levels, Names};
use crate::operation::{Operation, Operations, RequestSource};
use crate::report::Settings;
use crate::requests::{self, Mix, PlainHeader, RequestTemplate};
use crate::session::{LoginCounters, Session, TokenSource};
use crate::template::Template;
use crate::users::{self, Population, UserOperation};

/// The body for the example kind of a daemon without configuration.
const EXAMPLE_BODY: &str = r#"{"id":"{{run}}-{{seq}}","amount":{{random:1000}}}"#;
const EXAMPLE_KIND: &str = "order.create";
/// The default mix of users' operations.
const USERS_MIX: &str = "register=1,login=2,read=7";

/// The plan of a run.
pub struct RunPlan<'a> {
    /// The scenario with its options.
    pub planned: &'a ScenarioPlan<'a>,
    /// The target.
    pub endpoint: Endpoint,
    /// The trusted certificates.
    pub trust: TrustedCas,
    /// The operations.
    pub operations: Arc<Operations>,
    /// Counters of obtained tokens.
    pub logins: Arc<LoginCounters>,
    /// Maximum number of requests in progress.
    pub connections: usize,
    /// Settings for the report.
    pub settings: Settings,
    /// Service levels.
    pub levels: Option<Levels>,
}

impl<'a> RunPlan<'a> {
    /// Reads files, and checks everything that can be checked without the target.
    pub fn new(planned: &'a ScenarioPlan<'a>) -> anyhow::Result<Self> {
        let options = &planned.common.target;
        let course = &planned.common.course;
        refuse_secrets(planned)?;
        let mut random = fastrand::Rng::new();
        let run: String = (0..8).map(|_| random.lowercase()).collect();
        let seed = course.seed.unwrap_or_else(|| u64::from(random.u32(..)));
        let logins = Arc::<LoginCounters>::default();
        let headers = fixed_headers(options)?;
        let session = session(options, &headers, &logins)?;
        let mut operations = match mix(planned)? {
            Some(mix) => user_operations(options, mix, headers, &run, &logins, &mut random)?,
            None => template_operations(options, headers)?,
        };
        operations.run.clone_from(&run);
        operations.seed = seed;
        operations.session = session;
        let endpoint = options.url.as_ref().unwrap_or(&options.base).clone();
        let names = Names {
            operations: operations.names(),
            phases: planned.profile.phases.iter().map(|phase| phase.name.clone()).collect(),
        };
        let levels = planned.common.report.levels.as_deref();
        let levels = levels.map(|path| levels::read(path, &names)).transpose()?;
        let connections = course.connections.unwrap_or(planned.connections) as usize;
        let settings = Settings {
            scenario: planned.name,
            target: target_description(options, &operations, &endpoint),
            run,
            warm_up_seconds: course.warm_up.as_secs_f64(),
            connections,
            send_within_seconds: course.send_within.as_secs_f64(),
            timeout_seconds: course.timeout.as_secs_f64(),
            spacing: course.spacing,
            seed,
        };
        let trust = TrustedCas { ca_file: options.ca_file.clone() };
        let operations = Arc::new(operations);
        Ok(Self { planned, endpoint, trust, operations, logins, connections, settings, levels })
    }
}

/// Refuses secrets in options: other users can read command lines.
fn refuse_secrets(planned: &ScenarioPlan<'_>) -> anyhow::Result<()> {
    let options = &planned.common.target;
    options.headers.iter().try_for_each(PlainHeader::reject_secret)?;
    let urls = [Some(&options.base), options.url.as_ref(), planned.common.report.admin.as_ref()];
    if urls.into_iter().flatten().any(|url| url.has_credentials) {
        bail!(
            "a URL contains a password, and other users can read command lines: use --header-file or --token-file"
        );
    }
    Ok(())
}

/// The mix of users' operations, if the run uses them.
fn mix(planned: &ScenarioPlan<'_>) -> anyhow::Result<Option<Mix>> {
    let options = &planned.common.target;
    if planned.mix.is_some() && (options.kind.is_some() || options.url.is_some()) {
        bail!("{} is about users, so --kind and --url cannot be used", planned.name);
    }
    if planned.mix.is_none() && !options.users {
        return Ok(None);
    }
    let default = || planned.mix.unwrap_or(USERS_MIX).parse().map_err(anyhow::Error::msg);
    options.mix.clone().map_or_else(default, Ok).map(Some)
}

fn session(
    options: &TargetOptions,
    headers: &HeaderMap,
    logins: &Arc<LoginCounters>,
) -> anyhow::Result<Option<Arc<Session>>> {
    let source = match (&options.token_file, &options.login, &options.password_file) {
        (Some(file), _, _) => {
            fs::metadata(file).with_context(|| format!("--token-file {}", file.display()))?;
            TokenSource::File(file.clone())
        }
        (None, Some(name), Some(file)) => {
            let password =
                fs::read_to_string(file).with_context(|| format!("--password-file {}", file.display()))?;
            let password = password.strip_suffix('\n').unwrap_or(&password).to_owned();
            TokenSource::Login { name: name.clone(), password }
        }
        _ => return Ok(None),
    };
    Ok(Some(Arc::new(Session::new(source, headers.clone(), RunClock::start(), Arc::clone(logins)))))
}

/// Headers of all requests, including logins. Read once, because the file may be a pipe.
fn fixed_headers(options: &TargetOptions) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("forebay-load/", env!("CARGO_PKG_VERSION"))));
    if let Some(path) = &options.header_file {
        headers.extend(requests::read_file(path)?);
    }
    for header in &options.header_envs {
        let (name, value): (HeaderName, _) = header.read()?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The operation for commands of a kind, or for requests to any endpoint.
fn template_operations(options: &TargetOptions, mut headers: HeaderMap) -> anyhow::Result<Operations> {
    let kind = match (&options.kind, &options.url) {
        (None, None) => Some(EXAMPLE_KIND),
        (kind, _) => kind.as_deref(),
    };
    let body = match (&options.body, &options.body_file) {
        (Some(body), _) => Some(body.parse().map_err(|error| anyhow::anyhow!("--body: {error}"))?),
        (None, Some(path)) => Some(read_body(path)?),
        (None, None) => kind.map(|_| EXAMPLE_BODY.parse().map_err(anyhow::Error::msg)).transpose()?,
    };
    if body.is_some() && !headers.contains_key(CONTENT_TYPE) {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let method = options.method.clone().unwrap_or(if body.is_some() { Method::POST } else { Method::GET });
    let path = match (kind, &options.url) {
        (Some(kind), _) => format!("/v1/commands/{kind}"),
        (None, Some(url)) => url.path.clone(),
        (None, None) => "/".to_owned(),
    };
    let name = kind.unwrap_or("request").to_owned();
    let body: Template = body.map_or_else(|| "".parse(), Ok).map_err(anyhow::Error::msg)?;
    let template = RequestTemplate::new(method, &path, headers, options.headers.clone(), body)?;
    let expect = options.expect.clone().unwrap_or_default();
    let operation = Operation { source: RequestSource::Template(Box::new(template)), expect };
    Ok(operations(Mix(vec![(name, 1)]), vec![operation], HeaderMap::new(), None))
}

fn read_body(path: &std::path::Path) -> anyhow::Result<Template> {
    let place = || format!("--body-file {}", path.display());
    let text = fs::read_to_string(path).with_context(place)?;
    // An editor ends the last line with a newline, which a JSON body does not need.
    let text = text.strip_suffix('\n').unwrap_or(&text);
    text.parse().map_err(|error| anyhow::anyhow!("{}, {error}", place()))
}

fn user_operations(
    options: &TargetOptions,
    mix: Mix,
    headers: HeaderMap,
    run: &str,
    logins: &Arc<LoginCounters>,
    random: &mut fastrand::Rng,
) -> anyhow::Result<Operations> {
    if !options.headers.is_empty() {
        bail!("users' requests have no --header: use --header-file or --header-env");
    }
    let mut what = Vec::new();
    for (name, _) in &mix.0 {
        let Some(operation) = UserOperation::from_name(name) else {
            bail!("--mix: no operation is called {name}; valid names: {}", users::NAMES.join(", "));
        };
        what.push(Operation { source: RequestSource::User(operation), expect: operation.expects() });
    }
    let needed = mix.0.iter().any(|(name, _)| name == "login" || name == "read");
    let size = if needed { options.population } else { 0 };
    let population = Population::new(run, size, &headers, RunClock::start(), logins, random);
    Ok(operations(mix, what, headers, Some(Arc::new(population))))
}

fn operations(
    mix: Mix,
    what: Vec<Operation>,
    headers: HeaderMap,
    population: Option<Arc<Population>>,
) -> Operations {
    Operations { mix, operations: what, run: String::new(), seed: 0, session: None, headers, population }
}

fn target_description(options: &TargetOptions, operations: &Operations, endpoint: &Endpoint) -> String {
    let weights = || {
        let weight = |(name, weight): &(String, u32)| format!("{name}={weight}");
        operations.mix.0.iter().map(weight).collect::<Vec<_>>().join(",")
    };
    match (&operations.population, &options.url) {
        (Some(_), _) => format!("users of {} ({})", endpoint.at(""), weights()),
        (None, Some(url)) => endpoint.at(&url.path),
        (None, None) => endpoint.at(&format!("/v1/commands/{}", operations.names().join(""))),
    }
}
