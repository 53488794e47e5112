//! A real nginx on a free port, with a folder of its own; ended when dropped.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::tap::{PATIENCE, wait_until};

/// A running nginx.
pub struct Nginx {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Nginx {
    /// Starts one that serves `files`, with the given lines in its `server` block.
    pub fn start(files: &[(&str, &[u8])], server: &str) -> Self {
        Self::start_on("", files, server)
    }

    /// The same; `listen` follows the port in `listen`, such as `ssl`.
    pub fn start_on(listen: &str, files: &[(&str, &[u8])], server: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir(&root).unwrap();
        for (name, content) in files {
            fs::write(root.join(name), content).unwrap();
        }
        // A free port may be taken by somebody else before nginx binds it; then it ends, and another is tried.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut child = Self::spawn(&dir, port, listen, server);
            let mut ended = None;
            // It writes its number once it listens.
            wait_until("nginx listens", PATIENCE, || {
                ended = child.try_wait().unwrap();
                ended.is_some() || fs::read_to_string(dir.path().join("pid")).is_ok_and(|pid| !pid.is_empty())
            });
            if ended.is_none() {
                return Self { dir, port, child };
            }
        }
        panic!("nginx does not start: {}", fs::read_to_string(dir.path().join("error.log")).unwrap_or_default())
    }

    fn spawn(dir: &tempfile::TempDir, port: u16, listen: &str, server: &str) -> Child {
        let here = dir.path().display();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log {here}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\n\
             types {{ text/html html; }}\n\
             log_format connections '$connection $status $request_uri $http_if_none_match $server_protocol';\n\
             access_log {here}/access.log connections;\n\
             client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;\n\
             uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n\
             gzip on; gzip_types text/html; gzip_min_length 1; keepalive_requests 1000;\n\
             server {{ listen 127.0.0.1:{port} {listen}; root {here}/root;\n{server}\n}}\n}}\n"
        );
        fs::write(dir.path().join("nginx.conf"), config).unwrap();
        let program =
            ["/usr/sbin/nginx", "/usr/local/sbin/nginx"].into_iter().map(PathBuf::from).find(|path| path.exists());
        Command::new(program.unwrap_or_else(|| "nginx".into()))
            .args([
                "-p".as_ref(),
                dir.path().as_os_str(),
                "-c".as_ref(),
                "nginx.conf".as_ref(),
                "-e".as_ref(),
                "error.log".as_ref(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed; scripts/setup does it")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// One line for each request that was answered: connection, status, path, `If-None-Match`, protocol. The line of
    /// an answer comes after the answer.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned).collect()
    }

    /// The same, once there are so many lines.
    pub fn log_of(&self, answers: usize) -> Vec<String> {
        wait_until("the answers are logged", PATIENCE, || self.log().len() >= answers);
        self.log()
    }

    /// Writes one of its files again.
    pub fn write(&self, name: &str, content: &[u8]) {
        fs::write(self.dir.path().join("root").join(name), content).unwrap();
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
