//! Certificates of a cluster's brokers and clients: two authorities, of which brokers trust one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

/// Certificates of the trusted authority: names, extensions and validity periods.
const SIGNED: [(&str, &str, &str); 5] = [
    ("broker", "subjectAltName=IP:127.0.0.1", NOW),
    ("expired-broker", "subjectAltName=IP:127.0.0.1", LONG_AGO),
    ("other-broker", "subjectAltName=DNS:elsewhere.example", NOW),
    ("client", "extendedKeyUsage=clientAuth", NOW),
    ("expired-client", "extendedKeyUsage=clientAuth", LONG_AGO),
];
const NOW: &str = "-days 2";
const LONG_AGO: &str = "-startdate 20200101000000Z -enddate 20200201000000Z";
const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
/// `openssl x509` accepts no date in the past before OpenSSL 3.4; `openssl ca` does, and needs this and an index.
const AUTHORITY: &str = "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\ncertificate=ca.pem\n\
    private_key=ca.key\ndefault_md=sha256\nrand_serial=yes\nunique_subject=no\npolicy=any\n[any]\ncommonName=supplied\n";

/// The certificate files, in a directory of the cluster.
#[derive(Clone, Debug)]
pub struct Certificates {
    dir: PathBuf,
}

impl Certificates {
    /// Creates them with `openssl`, which takes a moment.
    pub(super) fn make(dir: &Path) -> Certificates {
        let made = Certificates { dir: dir.join("certificates") };
        fs::create_dir_all(&made.dir).expect("a directory for certificates");
        for authority in ["ca", "other-ca"] {
            made.openssl(&format!(
                "req -x509 {NEW_KEY} -days 2 -subj /CN={authority} -addext basicConstraints=critical,CA:TRUE \
                 -keyout {authority}.key -out {authority}.pem"
            ));
        }
        fs::write(made.file("ca.cnf"), AUTHORITY).expect("the settings of an authority");
        fs::write(made.file("index.txt"), "").expect("an index");
        for (name, extension, times) in SIGNED {
            fs::write(
                made.file(&format!("{name}.ext")),
                format!("basicConstraints=critical,CA:FALSE\n{extension}\n"),
            )
            .expect("the extensions of a certificate");
            made.openssl(&format!("req {NEW_KEY} -subj /CN={name} -keyout {name}.key -out {name}.csr"));
            made.openssl(&format!(
                "ca -batch -notext -config ca.cnf {times} -in {name}.csr -extfile {name}.ext -out {name}.pem"
            ));
            made.join_files(name).expect("a key store");
        }
        made
    }

    /// Certificate of the authority that signed all the others. `other-ca.pem` belongs to one that signed none.
    pub fn ca(&self) -> String {
        self.text_of("ca.pem")
    }

    /// The path of a file, as text: `client.pem`, `client.key`, `expired-client.pem`, `other-ca.pem`, …
    pub fn text_of(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// Key and chain in one file, as Kafka requires.
    pub(super) fn store(&self, name: &str) -> String {
        self.text_of(&format!("{name}.store.pem"))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn join_files(&self, name: &str) -> io::Result<()> {
        let parts = [format!("{name}.key"), format!("{name}.pem"), "ca.pem".to_owned()];
        let texts: io::Result<Vec<_>> =
            parts.iter().map(|part| fs::read_to_string(self.file(part))).collect();
        fs::write(self.store(name), texts?.concat())
    }

    fn openssl(&self, arguments: &str) {
        let run = Command::new("openssl").args(arguments.split_whitespace()).current_dir(&self.dir).output();
        let run = run.expect("openssl runs");
        assert!(run.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&run.stderr));
    }
}
