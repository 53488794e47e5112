//! A real `ClickHouse`, of the version that Debian has.

use std::process::Command;

use super::server::Server;

/// Starts one with an empty database `default`, and a user `default` without a password.
pub fn start() -> Server {
    Server::start(|dir, port| {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let here = dir.display();
        let config = format!(
            "<yandex><logger><level>warning</level><log>{here}/server.log</log><errorlog>{here}/error.log</errorlog></logger>\
             <http_port>{port}</http_port><tcp_port>{}</tcp_port><interserver_http_port>{}</interserver_http_port>\
             <listen_host>127.0.0.1</listen_host><path>{here}/db/</path><tmp_path>{here}/tmp/</tmp_path>\
             <mark_cache_size>5368709</mark_cache_size><users_config>{here}/users.xml</users_config>\
             <default_profile>default</default_profile><default_database>default</default_database></yandex>",
            free(),
            free()
        );
        let users = "<yandex><profiles><default/></profiles><users><default><password></password>\
             <networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota></default></users>\
             <quotas><default/></quotas></yandex>";
        std::fs::write(dir.join("config.xml"), config).unwrap();
        std::fs::write(dir.join("users.xml"), users).unwrap();
        let mut command = Command::new("clickhouse-server");
        command.arg(format!("--config-file={here}/config.xml"));
        command
    })
}
