//! lighttpd, built with meson.

use std::fs;
use std::thread;

use anyhow::Result;
use anyhow::ensure;
use testsuite::dirs::scratch;
use testsuite::dirs::volume;
use testsuite::http::get;
use testsuite::process::words;
use testsuite::project::Project;
use testsuite::server::Server;
use testsuite::tools::Tools;

use crate::at_ring0;

/// lighttpd: two workers serve files of a volume.
pub fn builds_and_runs(tools: &Tools) -> Result<()> {
    let dir = Project {
        name: "lighttpd",
        package: "lighttpd",
        // A static build takes its modules from a list that the builder writes.
        files: &[(
            "src/plugin-static.h",
            "PLUGIN_INIT(mod_access)\nPLUGIN_INIT(mod_alias)\nPLUGIN_INIT(mod_indexfile)\n\
             PLUGIN_INIT(mod_rewrite)\nPLUGIN_INIT(mod_setenv)\nPLUGIN_INIT(mod_staticfile)\n",
        )],
        steps: &[
            "env CC=ukl-cc meson setup out -Dbuild_static=true -Dwith_pcre2=false -Dwith_pcre=disabled -Dwith_zlib=disabled \
             -Dwith_brotli=disabled -Dwith_bzip=disabled -Dwith_zstd=disabled",
            "ninja -C out -j2 src/lighttpd",
        ],
        product: "out/src/lighttpd",
    }
    .build(tools)?;
    let data = scratch(tools, "lighttpd")?;
    let page: String = (0..3000).map(|i| format!("line {i}\n")).collect();
    fs::write(data.join("page.html"), &page)?;
    fs::write(
        data.join("lighttpd.conf"),
        "server.document-root = \"/data\"\nserver.port = 80\nserver.max-worker = 2\n\
         index-file.names = ( \"page.html\" )\nmimetype.assign = ( \".html\" => \"text/html\" )\n",
    )?;
    let image = dir.join("out/src/lighttpd.ukl");
    at_ring0(
        tools,
        "lighttpd",
        "network_init",
        &words(&[
            &"-v",
            &volume(&data),
            &image,
            &"-D",
            &"-f",
            &"/data/lighttpd.conf",
        ]),
    )?;
    let mut server = Server::start(
        tools,
        "lighttpd.log",
        80,
        &words(&[
            &"--cpus",
            &"2",
            &"-v",
            &volume(&data),
            &image,
            &"-D",
            &"-f",
            &"/data/lighttpd.conf",
        ]),
    )?;
    server.wait_for(|port| get(port, "/"))?;
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let port = server.port;
            thread::spawn(move || {
                (0..20)
                    .map(|_| get(port, "/page.html"))
                    .collect::<Result<Vec<_>>>()
            })
        })
        .collect();
    for client in clients {
        for (status, body) in client.join().unwrap_or_else(|_| Ok(Vec::new()))? {
            ensure!(
                status == 200 && body == page,
                "{status}, {} bytes",
                body.len()
            );
        }
    }
    let (status, _) = get(server.port, "/missing")?;
    ensure!(status == 404, "{status} for a file that is not there");
    server.cut()
}
