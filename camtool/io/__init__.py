"""Read and write files: images, and atomic writing of any file or folder."""
