//! Taking a permission away from clients, and giving it back.
//!
//! In a cluster with [`ClusterOptions::acls`](super::ClusterOptions::acls) clients may do everything to begin with, by
//! explicit permissions; a denial beats a permission. Each change runs Kafka's own tool, which takes a second. It
//! returns when the controller has the change; brokers follow within milliseconds, which a test has to await.

use std::fs;
use std::process::Command;

use super::Kafka;
use super::options::{ADMIN_PASSWORD, ADMIN_USER, CLIENT_USER};

/// What a permission is about.
#[derive(Clone, Copy, Debug)]
pub enum Resource<'a> {
    /// A topic, or `*` for all of them.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A transactional id.
    TransactionalId(&'a str),
    /// The cluster itself: creating topics, idempotent writes.
    Cluster,
}

impl Kafka {
    /// Forbids clients an operation by its name in Kafka's tools (`Write`, `Describe`, `Create`, `All`, …).
    pub fn deny(&self, operation: &str, resource: Resource<'_>) {
        self.change_acl("--add", operation, resource);
    }

    /// Takes back what [`Kafka::deny`] said in the same words.
    pub fn undeny(&self, operation: &str, resource: Resource<'_>) {
        self.change_acl("--remove", operation, resource);
    }

    /// What a cluster begins with.
    pub(super) fn allow_everything(&self) {
        self.run_acl_tool(|tool| {
            tool.arg("--add").args(principals("--allow-principal")).args(["--operation", "All"]);
            tool.args(["--topic", "*", "--group", "*", "--transactional-id", "*", "--cluster"]);
        });
    }

    fn change_acl(&self, change: &str, operation: &str, resource: Resource<'_>) {
        assert!(self.options.has_acls(), "a cluster without ClusterOptions::acls asks nobody for permission");
        self.run_acl_tool(|tool| {
            tool.arg(change).args(principals("--deny-principal")).args(["--operation", operation]);
            match resource {
                Resource::Topic(name) => tool.args(["--topic", name]),
                Resource::Group(name) => tool.args(["--group", name]),
                Resource::TransactionalId(name) => tool.args(["--transactional-id", name]),
                Resource::Cluster => tool.arg("--cluster"),
            };
            if change == "--remove" {
                tool.arg("--force"); // does not ask whether it is meant
            }
        });
    }

    fn run_acl_tool(&self, configure: impl FnOnce(&mut Command)) {
        let login = self.dir.path().join("admin.properties");
        let contents = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{ADMIN_USER}\" password=\"{ADMIN_PASSWORD}\";\n"
        );
        fs::write(&login, contents).expect("the tool's login");
        self.jars.run("org.apache.kafka.tools.AclCommand", self.dir.path(), |tool| {
            tool.args(["--bootstrap-server", &self.sasl_bootstrap(), "--command-config"]).arg(&login);
            configure(tool);
        });
    }
}

/// Everybody a client of a test can be.
fn principals(option: &str) -> [String; 4] {
    [option.to_owned(), "User:ANONYMOUS".to_owned(), option.to_owned(), format!("User:{CLIENT_USER}")]
}
