//! Denying permissions to clients, and granting them again.
//!
//! In a cluster with [`ClusterOptions::acls`](super::ClusterOptions::acls) clients are first allowed everything, by
//! explicit permissions; a denial overrides a permission. Each change runs Kafka's own tool, which takes a second. It
//! returns when the controller has the change. Brokers follow within milliseconds, which a test has to await.

use std::process::Command;
use std::{fs, io};

use super::options::{ADMIN_PASSWORD, ADMIN_USER, CLIENT_USER};
use super::wire::Acl;
use super::{Kafka, wire};

/// The resource of a permission.
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

/// Operations of a user, by the protocol's numbers.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "Kafka's own names")]
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
    /// Denies clients an operation, named as in Kafka's tools (`Write`, `Describe`, `Create`, `All`, …).
    pub fn deny(&self, operation: &str, resource: Resource<'_>) {
        self.change_acl("--add", operation, resource);
    }

    /// Reverses [`Kafka::deny`] with the same arguments.
    pub fn undeny(&self, operation: &str, resource: Resource<'_>) {
        self.change_acl("--remove", operation, resource);
    }

    /// Forbids one user of a cluster with [`ClusterOptions::secure`](super::ClusterOptions::secure) an operation.
    pub fn deny_user(&self, user: &str, operation: Operation, resource: Resource<'_>) {
        self.change_of_user(wire::create_acl, user, operation, resource);
    }

    /// Reverses [`Kafka::deny_user`] with the same arguments.
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

    /// Grants the initial permissions of a secure cluster. Its super users are the brokers and anonymous clients.
    pub(super) fn allow_all_users(&self) {
        let all = ["*", "*", CLUSTER, "*"].into_iter().zip(2..);
        for (name, resource) in all {
            let acl = Acl { resource, name, principal: "User:*", operation: ALL, permission: ALLOW };
            wire::create_acl(&self.bootstrap(), &acl).expect("a permission");
        }
    }

    /// Adds a user of SCRAM-SHA-512.
    pub fn add_scram_user(&self, user: &str, password: &str) {
        let config = format!("SCRAM-SHA-512=[password={password}]");
        self.run_tool("kafka.admin.ConfigCommand", |tool| {
            tool.args(["--alter", "--entity-type", "users", "--entity-name", user, "--add-config", &config]);
        });
    }

    /// Grants the initial permissions of a cluster.
    pub(super) fn allow_everything(&self) {
        self.run_acl_tool(|tool| {
            tool.arg("--add").args(principals("--allow-principal")).args(["--operation", "All"]);
            tool.args(["--topic", "*", "--group", "*", "--transactional-id", "*", "--cluster"]);
        });
    }

    fn change_acl(&self, change: &str, operation: &str, resource: Resource<'_>) {
        assert!(self.options.has_acls(), "a cluster without ClusterOptions::acls checks no permissions");
        self.run_acl_tool(|tool| {
            tool.arg(change).args(principals("--deny-principal")).args(["--operation", operation]);
            resource.name_to(tool);
            if change == "--remove" {
                tool.arg("--force"); // no confirmation
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

/// All users that clients of tests can be.
fn principals(option: &str) -> [String; 4] {
    [option.to_owned(), "User:ANONYMOUS".to_owned(), option.to_owned(), format!("User:{CLIENT_USER}")]
}
