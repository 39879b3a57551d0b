//! The guest's init: starts the program, and switches the machine off when it ends.

fn main() {
    if std::process::id() != 1 {
        eprintln!("ukl-init: error: this is the init of an image's guest, not a command to run");
        std::process::exit(125);
    }
    ukl_init::run()
}
