import Link from 'next/link';

// Rendered at build time.
export default function Home() {
  return (
    <main>
      <h1>Home</h1>
      <ul>
        <li><Link href="/news">News: Next.js itself revalidates it each second</Link></li>
        <li><Link href="/blog/hello">A post: rendered for each request</Link></li>
        <li><Link href="/slow">A page that streams</Link></li>
      </ul>
    </main>
  );
}
