"""Files of users, read safely: pictures, arrays, films; with the true reason where one cannot be read."""
