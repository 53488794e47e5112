//! stub
use super::post::Post;
#[derive(Debug, Clone)]
pub struct Rule(String);
impl Rule {
    pub fn parse(text: &str, _: usize) -> Result<Self, String> {
        if text.starts_with("lang:") || text.contains('(') { Err("bad".into()) } else { Ok(Self(text.to_lowercase())) }
    }
    pub fn matches(&self, post: &Post) -> bool {
        post.text.to_lowercase().contains(&self.0)
    }
}
