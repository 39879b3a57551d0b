//! The user that the program runs as, by the guest's passwd(5) and group(5).

use ukl_image::tree::Tree;
use ukl_proto::image_conf::User;

use crate::error::Error;
use crate::error::Result;

/// A user with its home directory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Account {
    /// The credentials.
    pub user: User,
    /// The home directory, if the user is in passwd.
    pub home: Option<String>,
}

/// Reads `USER[:GROUP]`, each a name or a number, as container images do. Without a group, it is
/// the user's, with the supplementary groups.
pub fn find(tree: &Tree<'_>, text: &str) -> Result<Account> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let passwd = read(tree, b"etc/passwd");
    let groups = read(tree, b"etc/group");
    let unknown = |file: &str, name: &str| {
        Error::Usage(format!(
            "the user `{text}': the image's {file} has no `{name}'; use a number, or --add another \
             {file}"
        ))
    };
    let mut account = Account::default();
    let by_name = passwd
        .iter()
        .find(|entry| entry.first().is_some_and(|first| first == name));
    let by_number = || {
        passwd
            .iter()
            .find(|entry| entry.get(2).is_some_and(|uid| uid == name))
    };
    match (by_name.or_else(by_number), name.parse()) {
        (Some(entry), _) => {
            let number = |at: usize| entry.get(at).and_then(|text| text.parse().ok());
            let (Some(uid), Some(gid)) = (number(2), number(3)) else {
                return Err(unknown("/etc/passwd", name));
            };
            account.user = User {
                uid,
                gid,
                groups: Vec::new(),
            };
            account.home = entry.get(5).filter(|home| !home.is_empty()).cloned();
        }
        (None, Ok(uid)) => account.user.uid = uid,
        (None, Err(_)) => return Err(unknown("/etc/passwd", name)),
    }
    let number_of = |entry: &Vec<String>| entry.get(2).and_then(|gid| gid.parse().ok());
    match group {
        Some(group) => {
            let named = groups
                .iter()
                .find(|entry| entry.first().is_some_and(|name| name == group));
            let number = named.and_then(number_of).or_else(|| group.parse().ok());
            account.user.gid = number.ok_or_else(|| unknown("/etc/group", group))?;
        }
        None => {
            let user = by_name.or_else(by_number).and_then(|entry| entry.first());
            let is_member = |entry: &&Vec<String>| {
                let members = entry.get(3).map_or("", String::as_str);
                user.is_some_and(|user| members.split(',').any(|member| member == user))
            };
            account.user.groups = groups
                .iter()
                .filter(is_member)
                .filter_map(number_of)
                .collect();
        }
    }
    Ok(account)
}

/// The lines of a file, each split at colons.
fn read(tree: &Tree<'_>, path: &[u8]) -> Vec<Vec<String>> {
    let data = tree
        .resolve(path)
        .and_then(|path| Some(&tree.get(&path)?.data));
    let text = data.map(|data| String::from_utf8_lossy(data));
    let text = text.unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        let mut tree = Tree::new();
        let passwd = "root:x:0:0::/root:/bin/sh\nwww:x:33:34::/srv:/bin/sh\nbad:x:y:z\n";
        tree.file("etc/passwd", 0o644, passwd.as_bytes());
        let group = "root:x:0:\nwww:x:34:\ndisk:x:6:a,www,b\naudio:x:29:www\n";
        tree.file("etc/group", 0o644, group.as_bytes());
        for (text, credentials, home) in [
            ("www", "33:34,6,29", Some("/srv")),
            ("33", "33:34,6,29", Some("/srv")),
            ("www:disk", "33:6", Some("/srv")),
            ("www:7", "33:7", Some("/srv")),
            ("500", "500:0", None),
            ("500:600", "500:600", None),
            ("0", "0:0", Some("/root")),
        ] {
            let account = find(&tree, text).unwrap();
            assert_eq!(account.user.to_string(), credentials, "{text}");
            assert_eq!(account.home.as_deref(), home, "{text}");
        }
        for unknown in ["nobody", "www:nobody", "bad", "-1", ""] {
            assert!(find(&tree, unknown).is_err(), "{unknown:?}");
        }
    }
}
