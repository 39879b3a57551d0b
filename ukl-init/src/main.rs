//! The guest's init: starts the program, and switches the machine off when it ends.

fn main() {
    if std::process::id() != 1 {
        eprintln!(
            "ukl-init: error: this program is the init of a guest; it cannot be run as a command"
        );
        std::process::exit(125);
    }
    ukl_init::run()
}
