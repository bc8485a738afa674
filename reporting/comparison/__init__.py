"""Compare the winners and the searches of several studies on one page; nothing is trained."""
