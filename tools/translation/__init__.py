"""Translation into English: language identification, preselection and the translators of `MT`."""
