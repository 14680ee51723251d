//! Taking a permission away from clients, and giving it back.
//!
//! In a cluster with [`ClusterOptions::acls`](super::ClusterOptions::acls) clients may do everything to begin with, by
//! explicit permissions; a denial beats a permission. Each change runs Kafka's own tool, which takes a second. It
//! returns when the controller has the change; brokers follow within milliseconds, which a test has to await.

use std::process::Command;
use std::{fs, io};

use super::options::{ADMIN_PASSWORD, ADMIN_USER, CLIENT_USER};
use super::wire::Acl;
use super::{Kafka, wire};

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

/// What a user does, by the protocol's numbers.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "the names Kafka gives them")]
pub enum Operation {
    Read = 3,
    Write = 4,
    DescribeConfigs = 10,
    IdempotentWrite = 12,
}

const ALL: i8 = 2;
const DENY: i8 = 2;
const ALLOW: i8 = 3;
/// The name of the only resource of its type.
const CLUSTER: &str = "kafka-cluster";

impl<'a> Resource<'a> {
    fn number(self) -> (i8, &'a str) {
        match self {
            Resource::Topic(name) => (2, name),
            Resource::Group(name) => (3, name),
            Resource::Cluster => (4, CLUSTER),
            Resource::TransactionalId(name) => (5, name),
        }
    }
}

impl Resource<'_> {
    fn name_to(self, tool: &mut Command) {
        match self {
            Resource::Topic(name) => tool.args(["--topic", name]),
            Resource::Group(name) => tool.args(["--group", name]),
            Resource::TransactionalId(name) => tool.args(["--transactional-id", name]),
            Resource::Cluster => tool.arg("--cluster"),
        };
    }
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

    /// Forbids one user of a cluster with [`ClusterOptions::secure`](super::ClusterOptions::secure) an operation.
    pub fn deny_user(&self, user: &str, operation: Operation, resource: Resource<'_>) {
        self.change_of_user(wire::create_acl, user, operation, resource);
    }

    /// Takes back what [`Kafka::deny_user`] said in the same words.
    pub fn undeny_user(&self, user: &str, operation: Operation, resource: Resource<'_>) {
        self.change_of_user(wire::delete_acl, user, operation, resource);
    }

    fn change_of_user(
        &self,
        change: fn(&str, &Acl<'_>) -> io::Result<()>,
        user: &str,
        operation: Operation,
        resource: Resource<'_>,
    ) {
        let (principal, (resource, name)) = (format!("User:{user}"), resource.number());
        let acl = Acl { resource, name, principal: &principal, operation: operation as i8, permission: DENY };
        change(&self.bootstrap(), &acl).expect("the change of a permission");
    }

    /// What a secure cluster begins with. Its super users are the brokers and who connects without a name.
    pub(super) fn allow_everybody_everything(&self) {
        let all = ["*", "*", CLUSTER, "*"].into_iter().zip(2..);
        for (name, resource) in all {
            let acl = Acl { resource, name, principal: "User:*", operation: ALL, permission: ALLOW };
            wire::create_acl(&self.bootstrap(), &acl).expect("a permission");
        }
    }

    /// Makes a user of SCRAM-SHA-512 known.
    pub fn add_scram_user(&self, user: &str, password: &str) {
        let config = format!("SCRAM-SHA-512=[password={password}]");
        self.run_tool("kafka.admin.ConfigCommand", |tool| {
            tool.args(["--alter", "--entity-type", "users", "--entity-name", user, "--add-config", &config]);
        });
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
            resource.name_to(tool);
            if change == "--remove" {
                tool.arg("--force"); // does not ask whether it is meant
            }
        });
    }

    fn run_acl_tool(&self, configure: impl FnOnce(&mut Command)) {
        self.run_tool("org.apache.kafka.tools.AclCommand", configure);
    }

    fn run_tool(&self, class: &str, configure: impl FnOnce(&mut Command)) {
        let login = self.dir.path().join("admin.properties");
        let contents = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
             username=\"{ADMIN_USER}\" password=\"{ADMIN_PASSWORD}\";\n"
        );
        fs::write(&login, contents).expect("the tool's login");
        self.jars.run(class, self.dir.path(), |tool| {
            tool.args(["--bootstrap-server", &self.sasl_bootstrap(), "--command-config"]).arg(&login);
            configure(tool);
        });
    }
}

/// Everybody a client of a test can be.
fn principals(option: &str) -> [String; 4] {
    [option.to_owned(), "User:ANONYMOUS".to_owned(), option.to_owned(), format!("User:{CLIENT_USER}")]
}
