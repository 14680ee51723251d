//! Manual pages and shell completions, generated from the definition of the command line.

use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Generates the completions of a program for a shell.
pub fn completions(shell: Shell, mut program: Command) -> String {
    let name = program.get_name().to_owned();
    // Written to memory first, because the generator panics on a failed write.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// Renders the manual page of a program, followed by the page of each subcommand.
pub fn pages(mut program: Command) -> io::Result<String> {
    let mut text = Vec::new();
    program.build();
    Man::new(program.clone()).render(&mut text)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        Man::new(command.clone()).render(&mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Writes each page to a file in `directory`, and creates the directory if it does not exist.
pub fn write(program: Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(program, directory)?;
    crate::note!("manual pages written to {}", directory.display());
    Ok(())
}
