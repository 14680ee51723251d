//! Manual pages and shell completions, generated from the definition of the command line.

use std::path::Path;
use std::{fs, io};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// The completions of the program for a shell.
pub fn completions(shell: Shell, mut program: Command) -> Vec<u8> {
    let name = program.get_name().to_owned();
    // Into memory: the generator panics on a failed write.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program, name, &mut text);
    text
}

/// The manual page of the program, then one page per command.
pub fn pages(mut program: Command) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    program.build();
    Man::new(program.clone()).render(&mut text)?;
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        Man::new(command.clone()).render(&mut text)?;
    }
    Ok(text)
}

/// Writes each page to a file in the directory, which is created if it does not exist.
pub fn write(program: Command, directory: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    clap_mangen::generate_to(program, directory)
}
